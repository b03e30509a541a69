"""Every display under one name to import from."""

from lresnet_utils.report.build_charts import RewriteDisplay, TradeOffDisplay
from lresnet_utils.report.comparisons import OperatorDisplay, ParityDisplay, RobustnessDisplay
from lresnet_utils.report.curves import RocDisplay, ThresholdDisplay
from lresnet_utils.report.det import DetDisplay
from lresnet_utils.report.distributions import FoldDisplay, ScoreHistogramDisplay
from lresnet_utils.report.pictures import FaceSheetDisplay, PairSheetDisplay
from lresnet_utils.report.pipeline import AccuracySpeedDisplay, StageDisplay
from lresnet_utils.report.roofline import RooflineDisplay
from lresnet_utils.report.speed import LatencyDisplay, ThroughputDisplay

__all__ = [
    "AccuracySpeedDisplay",
    "DetDisplay",
    "FaceSheetDisplay",
    "FoldDisplay",
    "LatencyDisplay",
    "OperatorDisplay",
    "PairSheetDisplay",
    "ParityDisplay",
    "RewriteDisplay",
    "RobustnessDisplay",
    "RocDisplay",
    "RooflineDisplay",
    "ScoreHistogramDisplay",
    "StageDisplay",
    "ThresholdDisplay",
    "ThroughputDisplay",
    "TradeOffDisplay",
]
