"""A gateway under posts: callbacks a second, and what the processes used for one of them."""

from dataclasses import dataclass, replace

import psutil

from tests.bench import processor
from tests.bench.load import Load
from tests.bench.processor import MICRO
from tests.bench.sending import send
from tests.bench.services import Gateway, Services


@dataclass(frozen=True)
class Posted:
    """Callbacks answered a second, and the microseconds of CPU of one."""

    per_second: float
    process: float
    broker: float


def post(services: Services, gateway: Gateway, load: Load) -> Posted:
    """Post as fast as is answered.

    CPU is of everything that was posted after the warm-up, which is posted before: from a gateway
    that has nothing to do to one that has nothing left to do.

    Raises:
        LoadError: something was not answered with 202.
        ElsewhereError: the broker is no process of this machine.
    """
    process, broker = psutil.Process(gateway.process.pid), processor.broker(services.bootstrap)
    if load.warm_up:
        send(replace(load, seconds=load.warm_up, warm_up=0.0))
    before = processor.cpu_seconds(process), processor.cpu_seconds(broker)
    answered = send(replace(load, warm_up=0.0))
    used = processor.cpu_seconds(process) - before[0], processor.cpu_seconds(broker) - before[1]
    count = sum(answered.statuses.values()) * load.per_post
    return Posted(
        answered.per_second * load.per_post, used[0] * MICRO / count, used[1] * MICRO / count
    )
