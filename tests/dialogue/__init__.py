"""Tables of what is said on the wire, played to the engine's dialogues without a socket."""

import pytest

pytest.register_assert_rewrite("dialogue.exchange")
