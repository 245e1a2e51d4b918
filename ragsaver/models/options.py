"""How is a model run, whichever back end runs it?"""

from dataclasses import dataclass

from ragsaver.models.devices import Budget, Device, Precision, Wanted, batch_budget


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """What the encoders have in common.

    :ivar device: `auto` takes CUDA where the back end has it and it works.
    :ivar precision: of the weights; `auto` takes what suits the device and the model.
    :ivar threads: CPU threads; 0 leaves them to the back end, which takes the cores that this process may use.
    :ivar batch_tokens: padded tokens in one batch; 0 takes what suits the device.
    :ivar max_tokens: tokens of one text, special ones and prefix included; the rest is cut.
    :ivar prefix: put before each document.
    :ivar query_prefix: put before each question.
    """

    device: Wanted = "auto"
    precision: Precision = "auto"
    threads: int = 0
    batch_tokens: int = 0
    max_tokens: int = 256
    prefix: str = ""
    query_prefix: str = ""

    def prefix_of(self, *, query: bool) -> str:
        """What stands before each text."""
        return self.query_prefix if query else self.prefix

    def budget_on(self, device: Device) -> Budget:
        """What a batch may hold there, and what beginning another one costs."""
        return batch_budget(self.batch_tokens, device, self.threads)


DEFAULTS = EncoderOptions()
