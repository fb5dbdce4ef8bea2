"""What can go wrong in a run, each as one line for the terminal."""


class PerfError(Exception):
    """The run cannot start or go on; the text is one line, fit for a terminal."""


class OptionError(PerfError):
    """An option, or a combination of options, makes no sense."""


class FrameError(PerfError):
    """The bytes received are not AMQP 0-9-1 frames."""


class ClosedByServer(PerfError):
    """The server closed the connection or the channel with a reply code and text."""

    def __init__(self, scope: str, reply_code: int, reply_text: str) -> None:
        super().__init__(f"{scope} closed by the server: {reply(reply_code, reply_text)}")
        self.reply_code = reply_code


class AccessRefused(PerfError):
    """The server refused the login or the virtual host."""

    def __init__(self, reply_code: int, reply_text: str) -> None:
        super().__init__(f"access refused: {reply(reply_code, reply_text)}")


def reply(code: int, text: str) -> str:
    """Join code and text, printable, without saying the code twice: some servers' texts begin with it."""
    return printable(text if text.startswith(str(code)) else f"{code} {text}")


def printable(text: str) -> str:
    """Escape what a terminal would act upon: reply texts may quote names chosen by strangers."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:1000])
