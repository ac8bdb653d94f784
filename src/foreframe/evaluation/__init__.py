"""Evaluation: named protocols, the model beside its baselines, result cards, comparisons."""

from foreframe.evaluation.card import markdown, protocol_words, select_words
from foreframe.evaluation.compare import compare, comparison_markdown
from foreframe.evaluation.evaluate import EVALUATION, EVALUATION_FRAMES, card_path, evaluate
from foreframe.evaluation.protocols import PROTOCOLS, Protocol, protocol_named

__all__ = [
    "EVALUATION",
    "EVALUATION_FRAMES",
    "PROTOCOLS",
    "Protocol",
    "card_path",
    "compare",
    "comparison_markdown",
    "evaluate",
    "markdown",
    "protocol_named",
    "protocol_words",
    "select_words",
]
