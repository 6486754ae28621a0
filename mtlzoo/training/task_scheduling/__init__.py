"""Dynamic task selection: what is trained changes while it trains."""

from mtlzoo.training.task_scheduling.adaptive import LearningSpeed, MetricPriority
from mtlzoo.training.task_scheduling.bandits import EXP3, UCB
from mtlzoo.training.task_scheduling.budget import ResourceBudget
from mtlzoo.training.task_scheduling.costs import TaskCosts, measure_task_costs
from mtlzoo.training.task_scheduling.early_stopping import TaskEarlyStopping
from mtlzoo.training.task_scheduling.policy import TaskPolicy, Window
from mtlzoo.training.task_scheduling.priority import Priority
from mtlzoo.training.task_scheduling.scheduler import TaskScheduler
from mtlzoo.training.task_scheduling.switching import Curriculum, Proportional, RoundRobin

__all__ = [
    "EXP3",
    "UCB",
    "Curriculum",
    "LearningSpeed",
    "MetricPriority",
    "Priority",
    "Proportional",
    "ResourceBudget",
    "RoundRobin",
    "TaskCosts",
    "TaskEarlyStopping",
    "TaskPolicy",
    "TaskScheduler",
    "Window",
    "measure_task_costs",
]
