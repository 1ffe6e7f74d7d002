"""The contract of a codec, as tests: derive a class, give it a fixture ``rig``, and any codec proves itself.

```python
class TestMyCodec(CodecContract):
    @pytest.fixture
    def rig(self):
        return CodecRig(MyCodec("the key"), read_my_format, secrets=["the key"])
```

The tests are plain functions. Those with events and answers made up at random need hypothesis, and are skipped without.
"""

from __future__ import annotations

from eventpipe.testing.codec_answers import AnswerScenarios
from eventpipe.testing.codec_attributes import AttributeScenarios
from eventpipe.testing.codec_requests import RequestScenarios
from eventpipe.testing.codec_secrets import SecretScenarios


class CodecContract(RequestScenarios, AttributeScenarios, AnswerScenarios, SecretScenarios):
    """What every codec promises to the sink that sends what it writes."""
