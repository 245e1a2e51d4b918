"""For Celery's own command line: `celery -A ragsaver.workers inspect ping`, `... worker --pool threads -Q convert`."""

import threading

from ragsaver.settings_file import load_settings
from ragsaver.workers.app import make_app
from ragsaver.workers.broker import Broker
from ragsaver.workers.hands import hands_of_its_own
from ragsaver.workers.tasks import add_tasks

_settings = load_settings()
app = make_app(_settings)
add_tasks(app, _settings, hands_of_its_own(_settings, Broker(_settings, app), threading.Event()))
