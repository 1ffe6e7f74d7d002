"""The rules for a reconciler's options."""

from __future__ import annotations

from eventpipe.checked import is_number, shown
from eventpipe.delivery.common import AFTER_ATTEMPT, LONGEST_CLAIM
from eventpipe.delivery.sending import GRACE


def check_options(*, workers: int | None, interval: float, claim_ttl: float, timeout: float) -> None:
    """Refuse what has no meaning; each as ``Reconciler`` has it.

    Raises:
        ValueError: Names the option, its value, and the rule.
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(
            f"workers must be a whole number, at least 1, or None for one per processor, not {shown(workers)}"
        )
    for option, value in (("interval", interval), ("claim_ttl", claim_ttl), ("timeout", timeout)):
        if not is_number(value) or value <= 0:
            raise ValueError(f"{option} must be a finite number of seconds above 0, not {shown(value)}")
    if claim_ttl > LONGEST_CLAIM:
        raise ValueError(f"claim_ttl must be at most {LONGEST_CLAIM:g} s, not {claim_ttl:g}")
    if timeout >= claim_ttl:
        raise ValueError(
            f"timeout must be below claim_ttl ({claim_ttl:g} s), not {timeout:g}: lower it, or raise claim_ttl;"
            " else others attempt what is still being attempted here"
        )
    if timeout > (longest := LONGEST_CLAIM - GRACE - AFTER_ATTEMPT):
        raise ValueError(f"timeout must be at most {longest:g} s, so that a claim can outlast it, not {timeout:g}")
