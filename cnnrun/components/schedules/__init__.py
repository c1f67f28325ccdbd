"""Learning-rate schedules; `schedule` says what one is."""

from cnnrun.components.schedules import from_torch, usual
from cnnrun.components.schedules.schedule import Schedule, ScheduleOptions, build_schedule
from cnnrun.components.schedules.usual import Annealed

__all__ = ["Annealed", "Schedule", "ScheduleOptions", "build_schedule", "from_torch", "usual"]
