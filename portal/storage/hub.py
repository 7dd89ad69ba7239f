"""Whether the hub of models and data sets can be reached."""

PROBE_S = 5.0


def hub_answers() -> bool:
    """Whether the hub answers a single request now; False where it is switched off (HF_HUB_OFFLINE=1)."""
    import httpx
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_S)
    except (httpx.HTTPError, OSError):
        return False
    return True
