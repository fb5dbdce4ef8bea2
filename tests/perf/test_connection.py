"""What a broker does seldom, played by a scripted server: blocking, flow, silence, closing."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from pamqp import base, commands, frame, heartbeat

from harebell.perf.errors import ClosedByServer, PerfError
from harebell.perf.histogram import Histogram
from harebell.perf.inbound import Inbound
from harebell.perf.messages import Address, MessageShape, PublishBlocks
from harebell.perf.publisher import Publisher
from harebell.perf.url import BrokerURL


class ScriptedServer:
    """Logs one client in, then sends what the test says and notes what it gets."""

    def __init__(self, heartbeat: int = 0) -> None:
        self.heartbeat = heartbeat
        self.port = 0
        self.methods: asyncio.Queue[frame.FrameTypes] = asyncio.Queue()
        self.publishes = 0
        self._writer: asyncio.StreamWriter | None = None

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        await reader.readexactly(8)
        self.send(commands.Connection.Start(0, 9, {}, "PLAIN AMQPLAIN", "en_US"), 0)
        data = b""
        while chunk := await reader.read(65_536):
            data += chunk
            while len(data) >= 8 and len(data) >= (length := int.from_bytes(data[3:7], "big") + 8):
                self.take(frame.unmarshal(data[:length])[2])
                data = data[length:]
        writer.close()

    def take(self, one: frame.FrameTypes) -> None:
        replies: dict[type, tuple[base.Frame, int]] = {
            commands.Connection.StartOk: (commands.Connection.Tune(0, 0, self.heartbeat), 0),
            commands.Connection.Open: (commands.Connection.OpenOk(), 0),
            commands.Channel.Open: (commands.Channel.OpenOk(), 1),
            commands.Connection.Close: (commands.Connection.CloseOk(), 0),
        }
        if type(one) in replies:
            self.send(*replies[type(one)])
        if isinstance(one, commands.Basic.Publish):
            self.publishes += 1
        else:
            self.methods.put_nowait(one)

    def send(self, method: base.Frame, channel: int) -> None:
        assert self._writer is not None
        self._writer.write(frame.marshal(method, channel))

    async def wait_for(self, kind: type[frame.FrameTypes]) -> frame.FrameTypes:
        while True:
            one = await self.methods.get()
            if isinstance(one, kind):
                return one


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    listener = await asyncio.start_server(scripted.talk, "127.0.0.1", 0)
    scripted.port = listener.sockets[0].getsockname()[1]
    yield scripted
    listener.close()
    await listener.wait_closed()


class Failures:
    """Keeps the reason a connection gives for breaking."""

    def __init__(self) -> None:
        self.reason: asyncio.Future[PerfError] = asyncio.get_running_loop().create_future()

    def __call__(self, reason: PerfError) -> None:
        self.reason.set_result(reason)


@pytest.fixture
async def failures() -> Failures:
    return Failures()


@pytest.fixture
async def publisher(server: ScriptedServer, failures: Failures) -> AsyncIterator[Publisher]:
    connection = Publisher(Inbound(131_072, 0, 0, Histogram(), None), failures, None)
    yield connection
    await connection.close()


def blocks(frame_max: int) -> PublishBlocks:
    return PublishBlocks([Address("", "q")], MessageShape(size=10), frame_max)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until ``condition()`` holds."""
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("hold", "release", "channel"),
    [
        (commands.Connection.Blocked("low on memory"), commands.Connection.Unblocked(), 0),
        (commands.Channel.Flow(False), commands.Channel.Flow(True), 1),
    ],
    ids=["connection.blocked", "channel.flow"],
)
async def test_a_publisher_that_the_server_holds_waits(
    server: ScriptedServer, publisher: Publisher, hold: base.Frame, release: base.Frame, channel: int
) -> None:
    await publisher.open(BrokerURL(port=server.port), 0)
    server.send(hold, channel)
    await until(lambda: publisher.held_by_server)
    publisher.begin(blocks(publisher.frame_max), 0.0, 100)
    assert publisher.published == 0
    server.send(release, channel)
    await until(lambda: publisher.published == 100)
    await until(lambda: server.publishes == 100)
    if isinstance(hold, commands.Channel.Flow):
        answer = await server.wait_for(commands.Channel.FlowOk)
        assert isinstance(answer, commands.Channel.FlowOk)
        assert answer.active is False


async def test_the_largest_frame_without_a_limit_of_the_server_is_our_own(
    server: ScriptedServer, publisher: Publisher
) -> None:
    await publisher.open(BrokerURL(port=server.port), 0)
    answer = await server.wait_for(commands.Connection.TuneOk)
    assert isinstance(answer, commands.Connection.TuneOk)
    assert answer.frame_max == publisher.frame_max == 131_072


async def test_a_close_by_the_server_is_answered_and_told(
    server: ScriptedServer, publisher: Publisher, failures: Failures
) -> None:
    await publisher.open(BrokerURL(port=server.port), 0)
    server.send(commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0), 0)
    reason = await failures.reason
    assert isinstance(reason, ClosedByServer)
    assert str(reason) == "connection closed by the server: 320 CONNECTION_FORCED - maintenance"
    await server.wait_for(commands.Connection.CloseOk)


async def test_a_heartbeat_is_sent_and_a_silent_server_given_up(
    server: ScriptedServer, publisher: Publisher, failures: Failures
) -> None:
    server.heartbeat = 30
    await publisher.open(BrokerURL(port=server.port), 1)
    answer = await server.wait_for(commands.Connection.TuneOk)
    assert isinstance(answer, commands.Connection.TuneOk)
    assert answer.heartbeat == 1, "the lower of the two proposals counts"
    assert "was silent" in str(await failures.reason)
    await server.wait_for(heartbeat.Heartbeat)


async def test_calls_on_a_broken_connection_give_the_reason(
    server: ScriptedServer, publisher: Publisher, failures: Failures
) -> None:
    await publisher.open(BrokerURL(port=server.port), 0)
    server.send(commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0), 0)
    await failures.reason
    with pytest.raises(ClosedByServer, match="320"):
        await publisher.open_channel()
