"""The compose file is valid, and each service can be watched and keeps its data."""

from pathlib import Path

import yaml

COMPOSE = yaml.safe_load((Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text())


def test_every_service_has_a_health_check_and_what_it_needs():
    services = COMPOSE["services"]
    assert {"api", "converter", "embedder", "redis", "qdrant", "postgres"} == set(services)
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service.get("build") or ":" in service["image"], name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], name
        assert set(service.get("depends_on", {})) <= set(services)


def test_nothing_is_reached_from_outside_the_machine():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
