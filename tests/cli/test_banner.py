"""The banner: a URL to copy, and the truth about where data goes."""

from pathlib import Path

from harebell.administration.host import Listener
from harebell.cli.banner import banner
from harebell.settings import Auth, Settings, Storage


def show(
    settings: Settings, addresses: list[tuple[str, int]], data: Path | None = None, colour: bool = False
) -> str:
    listeners = [Listener("amqp", host, port) for host, port in addresses]
    return banner(settings, listeners, data, hot_path="compiled", loop="uvloop", colour=colour)


def test_it_has_six_lines_and_a_url_to_copy() -> None:
    text = show(Settings(), [("127.0.0.1", 5672), ("::1", 5672)])
    assert len(text.splitlines()) == 6
    assert "amqp://guest:guest@127.0.0.1:5672/  amqp://guest:guest@[::1]:5672/" in text
    assert "compiled, on uvloop" in text
    assert "RabbitMQ 3.13.7" in text


def test_any_address_is_shown_as_this_machine() -> None:
    assert "amqp://guest:guest@127.0.0.1:5672/" in show(Settings(), [("0.0.0.0", 5672)])


def test_a_password_that_is_not_the_known_one_is_not_shown() -> None:
    auth = Auth.model_validate({"default_user": "ad min", "default_pass": "hunter2"})
    text = show(Settings(auth=auth), [("127.0.0.1", 5672)])
    assert "amqp://ad%20min@127.0.0.1:5672/" in text
    assert "hunter2" not in text


def test_it_names_what_else_is_listened_on() -> None:
    listeners = [
        Listener("amqp/ssl", "0.0.0.0", 5671),
        Listener("http", "0.0.0.0", 15672),
        Listener("http", "::", 15672),
        Listener("http/prometheus", "127.0.0.1", 15692),
    ]
    text = banner(Settings(), listeners, None, hot_path="compiled", loop="uvloop", colour=False)
    assert "  AMQP     amqps://guest:guest@127.0.0.1:5671/\n" in text
    assert "  HTTP     http://127.0.0.1:15672/api/\n" in text
    assert "  Metrics  http://127.0.0.1:15692/metrics\n" in text


def test_it_names_the_data_folder_or_says_that_there_is_none() -> None:
    assert "  Data     /data" in show(Settings(storage=Storage(data_dir=Path("/data"))), [], Path("/data"))
    assert "  Data     in memory" in show(Settings(storage=Storage(in_memory=True)), [])


def test_colours_change_no_word() -> None:
    plain = show(Settings(), [("127.0.0.1", 5672)])
    coloured = show(Settings(), [("127.0.0.1", 5672)], colour=True)
    assert "\x1b[" in coloured
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain
