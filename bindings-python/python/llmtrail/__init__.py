"""LLM analytics for applications: `wrap` the provider SDK that you use, and every call becomes an event.

```python
client = llmtrail.wrap(OpenAI())  # the same object, observed

with llmtrail.trace("answer", distinct_id="user-1") as trace:
    client.chat.completions.create(model="gpt-5-mini", messages=[...])
print(trace.cost_usd)
```

Events go to PostHog when `POSTHOG_API_KEY` is set, else into a local store that `llmtrail ls` shows. Nothing
here throws, blocks or grows without bound inside the program that it observes.
"""

from ._budget import Budget
from ._carry import carry
from ._client import (
    Client,
    budget,
    capture,
    capture_embedding,
    capture_generation,
    capture_span,
    capture_trace,
    continue_from,
    cost,
    doctor,
    embedding,
    feedback,
    flush,
    generation,
    headers,
    init,
    instrument,
    metric,
    options,
    session,
    set_price,
    shutdown,
    span,
    stats,
    totals,
    trace,
    uninstrument,
    wrap,
)
from ._core import Report, Stats, __version__
from ._cost import Cost, CostLine
from ._errors import BudgetExceeded, ConfigError, LlmtrailError
from ._manual import Generation
from ._scopes import Scope
from ._totals import FinishedCall, Totals

__all__ = [
    "Budget",
    "BudgetExceeded",
    "Client",
    "ConfigError",
    "Cost",
    "CostLine",
    "FinishedCall",
    "Generation",
    "LlmtrailError",
    "Report",
    "Scope",
    "Stats",
    "Totals",
    "__version__",
    "budget",
    "capture",
    "capture_embedding",
    "capture_generation",
    "capture_span",
    "capture_trace",
    "carry",
    "continue_from",
    "cost",
    "doctor",
    "embedding",
    "feedback",
    "flush",
    "generation",
    "headers",
    "init",
    "instrument",
    "metric",
    "options",
    "session",
    "set_price",
    "shutdown",
    "span",
    "stats",
    "totals",
    "trace",
    "uninstrument",
    "wrap",
]
