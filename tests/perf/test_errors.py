from harebell.perf.errors import AccessRefused, ClosedByServer


def test_the_reply_text_is_shown_with_its_code_once() -> None:
    assert str(AccessRefused(403, "ACCESS_REFUSED - no")) == "access refused: 403 ACCESS_REFUSED - no"
    assert (
        str(ClosedByServer("channel", 404, "404 NOT_FOUND")) == "channel closed by the server: 404 NOT_FOUND"
    )


def test_a_reply_text_cannot_drive_the_terminal_or_fill_it() -> None:
    text = str(ClosedByServer("channel", 404, "a\x1b[2Jb\nc" + "x" * 5_000))
    assert r"a\x1b[2Jb\x0ac" in text
    assert text.isprintable()
    assert len(text) < 1_200
