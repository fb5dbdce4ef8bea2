"""Where harebell deliberately answers otherwise than RabbitMQ 3.10, and why.

The tests named here show harebell's behaviour. Against RabbitMQ they are expected to fail (an unexpected
success is an error, so that the table stays true), and the reason is printed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """What RabbitMQ 3.10 does in a test, and why harebell does something else."""

    rabbitmq: str
    reason: str


_IMMEDIATE = Difference(
    rabbitmq="540 NOT_IMPLEMENTED closes the connection",
    reason="the specification has `immediate`, and keeping its promise costs nothing",
)

_HEAD_ONLY = Difference(
    rabbitmq="only the head of a queue expires, so a longer-lived message hides those behind it",
    reason="a time limit is a promise; an index of deadlines keeps it anywhere in the queue",
)

_REVERSED_DEATHS = Difference(
    rabbitmq="the older entries of `x-death` are reversed at each death",
    reason="as RabbitMQ 4 does: all entries in order, the latest first",
)

_HIDDEN_KEYS = Difference(
    rabbitmq="a dead letter also goes where the keys of `BCC` lead",
    reason="`BCC` is taken out when a message is published, so that nobody who gets it is told; a queue has"
    " no memory of it",
)

_ANY_DELIVERY_LIMIT = Difference(
    rabbitmq="any value is taken, and one that is no number means no limit",
    reason="every other argument is checked, and a limit that silently does not hold is a trap",
)

_NODE_WIDE_TIMEOUT = Difference(
    rabbitmq="there is one acknowledgement timeout for the whole node only",
    reason="as RabbitMQ 4.3: a queue and a consumer can have one of their own",
)

_INTERNAL_ERROR = Difference(
    rabbitmq="541 INTERNAL_ERROR closes the connection",
    reason="as other bad values: 406, the channel alone, and words that name the argument",
)

_NO_IDS = Difference(
    rabbitmq="it takes every message, and gives none an id",
    reason="publishing again after a lost confirm, and working again after a lost acknowledgement, are to be"
    " harmless without code in every application",
)

_NO_RETRIES = Difference(
    rabbitmq="what comes back is ready at once, and arguments that ask for a wait are not known",
    reason="the waits of RabbitMQ 4.3, with backoff and for every queue type",
)

_NO_DELAYS = Difference(
    rabbitmq="delayed messages are a plugin that is not installed, and other exchanges have none",
    reason="the plugin's exchange type, and headers and options that delay on any exchange",
)

_NO_LANES = Difference(
    rabbitmq="messages go to any consumer in order of arrival; arguments that ask for more are not known",
    reason="order per key, fair share and filters are arguments here, which RabbitMQ ignores",
)

_NO_BROWSING = Difference(
    rabbitmq="arguments that ask to look only are not known: such a consumer takes messages",
    reason="looking without taking is an argument here, which RabbitMQ ignores",
)

_NO_RATES = Difference(
    rabbitmq="queues deliver and take as fast as they can, to any number of consumers at once",
    reason="rates, a bound on unanswered deliveries and leases are arguments here, which RabbitMQ ignores",
)

_NO_SCHEMAS = Difference(
    rabbitmq="it takes every message, whatever is in it",
    reason="schemas, and arguments that bind queues and exchanges to them, keep out what nobody can read",
)

_UNFILTERED = Difference(
    rabbitmq="filters are unknown, each reader gets everything",
    reason="as RabbitMQ 4, and exactly: a reader gets nothing it did not ask for",
)

_RENEWED = Difference(
    rabbitmq="a new secret changes nothing for consumers and the virtual host",
    reason="as RabbitMQ 4: who renews a secret goes by the permissions of that moment",
)

DIFFERENCES: dict[str, Difference] = {
    **{
        f"{folder}/test_schemas.py::{test}": _NO_SCHEMAS
        for folder, test in (
            ("asyncio_clients", "test_what_does_not_fit_is_nacked[classic]"),
            ("asyncio_clients", "test_what_does_not_fit_is_nacked[quorum]"),
            ("asyncio_clients", "test_what_does_not_fit_is_nacked[stream]"),
            ("asyncio_clients", "test_what_does_not_fit_closes_the_channel"),
            ("asyncio_clients", "test_what_does_not_fit_is_dead_lettered"),
            ("asyncio_clients", "test_an_aio_pika_application_publishes_to_a_checked_exchange"),
            ("pika_client", "test_a_publisher_is_told_by_a_nack"),
            ("pika_client", "test_a_publisher_is_refused"),
            ("pika_client", "test_a_dead_letter_names_its_mistake"),
        )
    },
    **{
        f"{folder}/test_flow.py::{test}": _NO_RATES
        for folder, test in (
            ("asyncio_clients", "test_a_queue_delivers_no_faster_than_its_rate[classic]"),
            ("asyncio_clients", "test_a_queue_delivers_no_faster_than_its_rate[quorum]"),
            ("asyncio_clients", "test_no_more_is_unanswered_than_the_queue_allows[classic]"),
            ("asyncio_clients", "test_no_more_is_unanswered_than_the_queue_allows[quorum]"),
            ("asyncio_clients", "test_a_publisher_ahead_of_the_rate_is_slowed_down_and_loses_nothing"),
            ("asyncio_clients", "test_a_message_says_how_long_it_may_be_held"),
            ("pika_client", "test_a_blocking_publisher_is_slowed_down"),
            ("pika_client", "test_get_is_empty_while_too_much_is_unanswered"),
            ("pika_client", "test_a_rate_of_nothing_is_refused"),
        )
    },
    **{
        f"{folder}/test_browse.py::{test}": _NO_BROWSING
        for folder, test in (
            (
                "asyncio_clients",
                "test_a_browser_sees_what_waits_and_what_comes_and_takes_nothing[classic]",
            ),
            ("asyncio_clients", "test_a_browser_sees_what_waits_and_what_comes_and_takes_nothing[quorum]"),
            ("asyncio_clients", "test_a_browser_is_paced_by_its_prefetch_and_its_answers_change_nothing"),
            ("asyncio_clients", "test_a_browser_with_a_filter_passes_over_the_rest"),
            ("asyncio_clients", "test_browsing_alone_is_refused"),
            ("pika_client", "test_a_queue_is_looked_through_and_stays_as_it_is"),
            ("pika_client", "test_a_browser_is_told_when_its_queue_is_deleted"),
            ("pika_client", "test_a_place_that_is_none_is_refused"),
        )
    },
    **{
        f"{folder}/test_lanes.py::{test}": _NO_LANES
        for folder, test in (
            ("asyncio_clients", "test_a_key_is_with_one_consumer_at_a_time[classic]"),
            ("asyncio_clients", "test_a_key_is_with_one_consumer_at_a_time[quorum]"),
            ("asyncio_clients", "test_a_long_backlog_of_one_tenant_does_not_hold_back_another"),
            ("asyncio_clients", "test_a_consumer_gets_only_what_it_asks_for[headers]"),
            ("asyncio_clients", "test_a_consumer_gets_only_what_it_asks_for[selector]"),
            ("asyncio_clients", "test_a_filter_that_cannot_be_read_is_refused"),
            ("pika_client", "test_get_passes_over_keys_that_somebody_has"),
            ("pika_client", "test_messages_of_a_lost_connection_go_before_later_ones_of_their_key"),
        )
    },
    **{
        f"{folder}/test_delays.py::{test}": _NO_DELAYS
        for folder, test in (
            (
                "asyncio_clients",
                "test_messages_of_a_delayed_exchange_come_by_their_time_and_never_early",
            ),
            ("asyncio_clients", "test_a_message_asks_for_a_time"),
            ("asyncio_clients", "test_an_exchange_delays_what_asks_for_nothing"),
            ("asyncio_clients", "test_an_aio_pika_application_delays_in_a_transaction"),
            ("asyncio_clients", "test_an_exchange_delays_what_reaches_it_through_others"),
            ("pika_client", "test_a_delayed_message_comes_at_its_time"),
            ("pika_client", "test_exchanges_that_delay_in_a_circle_hand_a_message_on_once"),
            ("pika_client", "test_the_type_behind_a_delayed_exchange_must_be_one"),
        )
    },
    **{
        f"{folder}/test_deduplication.py::{test}": _NO_IDS
        for folder, test in (
            ("asyncio_clients", "test_a_queue_confirms_a_duplicate_and_does_not_store_it[classic]"),
            ("asyncio_clients", "test_a_queue_confirms_a_duplicate_and_does_not_store_it[quorum]"),
            ("asyncio_clients", "test_an_exchange_sends_a_duplicate_nowhere"),
            ("asyncio_clients", "test_a_transaction_leaves_out_its_own_duplicates"),
            ("asyncio_clients", "test_a_message_keeps_the_id_it_was_given"),
            ("pika_client", "test_a_publisher_that_lost_its_connection_publishes_again"),
        )
    },
    "pika_client/test_retries.py::test_what_is_given_back_comes_later_and_not_for_ever": _NO_RETRIES,
    **{
        f"asyncio_clients/test_retries.py::{test}": _NO_RETRIES
        for test in (
            "test_retries_wait_longer_each_time_and_end_in_the_dead_letter_queue[classic]",
            "test_retries_wait_longer_each_time_and_end_in_the_dead_letter_queue[quorum]",
            "test_what_waits_for_its_retry_does_not_hold_back_what_is_behind_it",
        )
    },
    "asyncio_clients/test_exchanges.py::test_an_unknown_exchange_type_is_a_channel_error_406": Difference(
        rabbitmq="503 COMMAND_INVALID closes the connection",
        reason="as RabbitMQ 4 does, so that one typing error does not end the other channels",
    ),
    "asyncio_clients/test_publishing.py"
    "::test_an_immediate_message_that_no_consumer_takes_is_returned_with_313": _IMMEDIATE,
    "asyncio_clients/test_publishing.py::test_an_immediate_message_reaches_a_waiting_consumer": _IMMEDIATE,
    "asyncio_clients/test_consuming.py::test_flow_off_pauses_deliveries_and_flow_on_resumes_them": Difference(
        rabbitmq="540 NOT_IMPLEMENTED closes the connection",
        reason="`channel.flow` pauses the deliveries of a channel, as the specification says",
    ),
    **{
        f"asyncio_clients/test_expiry.py::{test}[{queue_type}]": _HEAD_ONLY
        for test in (
            "test_a_message_expires_behind_a_longer_lived_one",
            "test_messages_with_various_times_expire_in_the_order_of_their_deadlines",
        )
        for queue_type in ("classic", "quorum")
    },
    **{
        f"asyncio_clients/test_dead_letters.py::{test}[{queue_type}]": difference
        for test, difference in (
            ("test_all_deaths_are_in_order_the_latest_first", _REVERSED_DEATHS),
            ("test_the_keys_of_bcc_are_not_those_of_a_dead_letter", _HIDDEN_KEYS),
        )
        for queue_type in ("classic", "quorum")
    },
    "asyncio_clients/test_single_active_consumer.py"
    "::test_a_classic_queue_hands_waiting_messages_over_at_once": Difference(
        rabbitmq="messages that are ready when the active consumer is cancelled stay where they are",
        reason="the next consumer is active from that moment, so it is served",
    ),
    "asyncio_clients/test_single_active_consumer.py"
    "::test_a_quorum_queue_activates_the_highest_consumer_priority_next": Difference(
        rabbitmq="the next in order of subscribing becomes active",
        reason="as in classic queues, and in quorum queues of later versions",
    ),
    "asyncio_clients/test_quorum_queues.py"
    "::test_a_quorum_queue_takes_the_queue_mode_and_ignores_it": Difference(
        rabbitmq="406 PRECONDITION_FAILED",
        reason="`x-queue-mode` is in many old configurations and harms nobody",
    ),
    **{
        "asyncio_clients/test_quorum_queues.py"
        f"::test_a_delivery_limit_that_is_no_number_from_minus_one_on_is_406[{value}]": _ANY_DELIVERY_LIMIT
        for value in ("-2", "1.5", "True", "'5'", "None")
    },
    "asyncio_clients/test_quorum_queues.py::test_without_a_limit_twenty_returns_are_the_most": Difference(
        rabbitmq="there is no limit unless one is set",
        reason="as RabbitMQ 4: a message that cannot be handled must not go round for ever",
    ),
    "asyncio_clients/test_quorum_queues.py::test_a_limit_of_minus_one_is_none": Difference(
        rabbitmq="the message is dropped at its first return",
        reason="as RabbitMQ 4, which has a limit by default and so needs a word for none",
    ),
    "asyncio_clients/test_quorum_queues.py"
    "::test_a_message_requeued_without_a_delivery_limit_comes_first_too": Difference(
        rabbitmq="without a delivery limit a returned message goes to the tail",
        reason="as RabbitMQ 4, where each queue has a limit: a message keeps its turn",
    ),
    "asyncio_clients/test_quorum_queues.py"
    "::test_a_global_prefetch_is_shared_by_the_consumers_of_quorum_queues_too": Difference(
        rabbitmq="540 NOT_IMPLEMENTED closes the connection",
        reason="the shared limit of a channel holds for each kind of queue",
    ),
    "asyncio_clients/test_quorum_queues.py"
    "::test_message_priorities_are_strict_levels_with_4_for_none_and_31_the_highest": Difference(
        rabbitmq="quorum queues ignore the priority of messages",
        reason="as RabbitMQ 4.3",
    ),
    **{
        f"asyncio_clients/test_acknowledgement_timeout.py::{test}": _NODE_WIDE_TIMEOUT
        for test in (
            "test_a_message_held_longer_than_the_queues_timeout_goes_to_another_consumer[classic]",
            "test_a_message_held_longer_than_the_queues_timeout_goes_to_another_consumer[quorum]",
            "test_a_consumer_can_ask_for_a_timeout_of_its_own",
        )
    },
    **{
        f"asyncio_clients/test_streams.py::test_anything_else_is_no_age[{value}]": _INTERNAL_ERROR
        for value in ("''", "'D'", "'-5s'", "'P1D'")
    },
    **{
        f"asyncio_clients/test_stream_offsets.py::test_anything_else_is_no_offset[{value}]": _INTERNAL_ERROR
        for value in ("''", "'abc'", "'First'", "'-1h'", "None", "True", "[1]", "1.5")
    },
    **{
        "asyncio_clients/test_stream_offsets.py"
        f"::test_a_reader_gets_what_its_filter_lets_through_and_nothing_else[{case}]": _UNFILTERED
        for case in ("one", "two", "one and without")
    },
    "asyncio_clients/test_stream_offsets.py::test_a_negative_offset_asks_for_the_last_messages": Difference(
        rabbitmq="the reader begins with the first message",
        reason="the last messages are often asked for, and a negative number says so",
    ),
    "asyncio_clients/test_permissions.py::test_a_passive_declare_without_any_is_403": Difference(
        rabbitmq="whoever may open the virtual host may look at every queue and exchange",
        reason="as RabbitMQ 4: any of the three permissions is needed",
    ),
    **{
        f"asyncio_clients/test_permissions.py::test_topic_permissions_hold_for_further_keys_too[{header}]": (
            Difference(
                rabbitmq="topic permissions are asked for the routing key only",
                reason="as RabbitMQ 4: what may not be published by its key may not be by `CC` either",
            )
        )
        for header in ("CC", "BCC")
    },
    **{
        f"pika_client/test_access.py::{test}": _RENEWED
        for test in (
            "test_a_new_secret_has_permissions_looked_at_and_consumers_cancelled_that_lost_theirs",
            "test_a_new_secret_of_a_user_who_lost_the_virtual_host_ends_the_connection",
        )
    },
    "asyncio_clients/test_streams.py::test_headers_that_are_arrays_and_tables_are_kept": Difference(
        rabbitmq="headers that are arrays or tables are dropped",
        reason="a stream keeps what was published",
    ),
    "asyncio_clients/test_streams.py::test_a_dead_letter_can_go_to_a_stream": Difference(
        rabbitmq="a dead letter that is routed to a stream is lost",
        reason="a stream is a queue like others to a publisher, and dead letters must not be lost",
    ),
    "asyncio_clients/test_streams.py::test_a_declare_counts_messages_and_readers_at_once": Difference(
        rabbitmq="messages are counted every five seconds, readers never",
        reason="counts are exact for each type of queue",
    ),
}
