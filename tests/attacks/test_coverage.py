"""The attack list, row by row: where each flaw was found, and the tests that show it there and its absence here.

A row with no test, or with a test that no longer exists, fails. "NC" is a peer-to-peer sharing example for Flower, "FL"
Flower's SecAgg+, "FSC" Federated Secure Computing, "FB" Fed-BioMed; where their code is not installed, a miniature with
the same flaw stands for it.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

TRANSCRIPT = "attacks/test_secagg_transcript.py"
RELEASE = "attacks/test_secagg_release.py"
RELAY = "attacks/test_secagg_relay.py"
REPLAY = "attacks/test_secagg_replay.py"
FLOWER = "attacks/test_secagg_flower.py"
ELSEWHERE = "attacks/test_secagg_elsewhere.py"
COMPLAINTS = "attacks/test_secagg_complaints.py"
ONE_BAD = "attacks/test_secagg_one_bad_site.py"

ROWS = {
    1: (
        "NC: shares drawn as floats follow the weights",
        f"{TRANSCRIPT}::test_float_shares_follow_the_weight",
        f"{TRANSCRIPT}::test_masked_words_follow_no_weight_however_many_rounds_are_averaged",
    ),
    2: (
        "NC: weights are applied to sums of shares",
        f"{TRANSCRIPT}::test_weighting_after_sharing_is_wrong_and_before_sharing_is_exact",
    ),
    3: (
        "parts pass the relay in clear",
        f"{ELSEWHERE}::test_a_relay_that_carries_parts_in_clear_adds_up_every_input",
        f"{ELSEWHERE}::test_our_parts_pass_the_relay_closed",
        f"{TRANSCRIPT}::test_a_classifier_on_transcripts_guesses",
        f"{TRANSCRIPT}::test_a_classifier_on_words_guesses",
    ),
    4: (
        "NC, FL: one lost or odd answer ends the round",
        f"{FLOWER}::test_a_flower_client_breaks_on_a_drop_while_keys_are_shared",
        f"{RELEASE}::test_a_drop_at_any_step_ends_in_a_sum_or_in_one_class_of_refusal",
        f"{ONE_BAD}::test_every_bad_message_is_blamed_on_its_sender_and_the_others_finish",
        "secagg/test_drops.py::test_a_third_of_the_sites_may_vanish_before_any_step",
    ),
    5: (
        "FL: 32-bit seeds of a Mersenne twister",
        f"{FLOWER}::test_a_flower_mask_is_found_by_trying_seeds",
        f"{FLOWER}::test_two_of_flowers_keys_can_have_one_mask_and_ours_cannot",
        f"{TRANSCRIPT}::test_masks_come_from_32_byte_keys",
        "secagg/test_published_vectors.py::test_aes_256_ctr_of_sp_800_38a_f_5_5",
    ),
    6: (
        "FL: one node is opened as active and as dead",
        f"{RELEASE}::test_a_client_that_answers_alive_and_dead_opens_its_peer",
        f"{RELEASE}::test_both_keys_of_a_site_open_its_vector",
        f"{RELEASE}::test_no_two_replies_of_a_site_hold_both_kinds_of_shares",
    ),
    7: (
        "FL, NC: public keys that nobody signed",
        f"{FLOWER}::test_a_flower_client_seals_its_shares_to_a_server_that_swapped_a_key",
        f"{RELAY}::test_a_swapped_key_is_refused",
        f"{RELAY}::test_a_sybil_is_refused",
        f"{RELAY}::test_a_foreign_roster_is_refused",
    ),
    8: (
        "FL: row count and metrics beside the masked vector",
        f"{FLOWER}::test_a_flower_client_sends_its_row_count_and_metrics_beside_the_masked_vector",
        f"{FLOWER}::test_ours_has_no_place_for_a_row_count_or_a_metric",
    ),
    9: (
        "FL: clips in silence, rounds coarsely, 8 bytes a weight",
        f"{FLOWER}::test_flower_rounds_small_weights_coarsely_and_ours_does_not",
        f"{FLOWER}::test_flower_clips_in_silence_and_ours_reports_it",
    ),
    10: (
        "FL: secrets in clear in the client's state",
        f"{FLOWER}::test_a_flower_client_keeps_its_secrets_in_clear",
        f"{FLOWER}::test_ours_are_sealed_before_they_touch_a_disk",
        f"{REPLAY}::test_sealed_state_errors_logs_and_texts_show_no_secret",
    ),
    11: (
        "FSC: shares without a modulus",
        f"{ELSEWHERE}::test_shares_without_a_modulus_leak_at_their_edges",
        f"{ELSEWHERE}::test_our_shares_of_extreme_inputs_have_one_distribution",
        f"{TRANSCRIPT}::test_masked_words_are_uniform",
    ),
    12: (
        "FSC: counts, extremes and keys in clear; certificates unchecked; 18 rounds for a median",
        f"{ELSEWHERE}::test_extremes_and_keys_in_clear_belong_to_single_patients",
        f"{ELSEWHERE}::test_no_question_of_ours_is_about_one_patient",
        f"{ELSEWHERE}::test_nothing_of_ours_turns_off_the_check_of_a_certificate",
        "secagg/test_analytics.py::test_no_minimum_and_no_maximum_leaks",
        "secagg/test_analytics.py::test_a_search_has_three_rounds_of_little",
    ),
    13: (
        "linear tags accept multiples and shifts by their prime",
        f"{RELAY}::test_a_linear_tag_without_offsets_accepts_multiples",
        f"{RELAY}::test_a_shift_by_one_prime_passes_that_prime_alone",
        f"{RELAY}::test_a_false_sum_is_seen_by_every_site",
        "secagg/test_modes.py::test_a_false_wide_sum_is_seen",
    ),
    14: (
        "one key pair for masks and sealing: a drop opens the tag key",
        f"{RELEASE}::test_one_key_pair_would_hand_over_the_tag_key",
        f"{RELEASE}::test_a_recovered_mask_seed_opens_no_box",
        f"{RELAY}::test_mask_keys_of_all_sites_do_not_open_a_sealed_share",
    ),
    15: (
        "a second set of survivors; a low threshold; both paths in one attempt",
        f"{RELEASE}::test_a_low_threshold_opens_two_sums",
        f"{RELEASE}::test_without_signatures_a_sum_of_two_opens",
        f"{RELEASE}::test_no_pattern_of_answers_opens_two_sums",
        f"{RELEASE}::test_no_pattern_opens_two_sums_with_more_sites",
        f"{RELEASE}::test_no_pattern_of_six_sites_opens_two_sums",
        f"{RELEASE}::test_a_real_sites_first_answer_decides_all_others",
    ),
    16: (
        "messages of another model, round, purpose, configuration or run",
        f"{RELAY}::test_messages_of_another_context_are_refused",
        f"{RELAY}::test_different_models_do_not_open_anything",
        f"{RELAY}::test_a_message_relabelled_for_this_context_is_refused",
        f"{ONE_BAD}::test_no_altered_message_is_taken_or_blamed_on_another",
    ),
    17: (
        "two vectors under one mask; a crash between storing and sending",
        f"{REPLAY}::test_two_vectors_under_one_mask_give_their_difference",
        f"{REPLAY}::test_a_mask_covers_one_vector_only",
        f"{REPLAY}::test_a_crash_at_every_step_repeats_the_bytes_or_starts_nothing",
        f"{REPLAY}::test_a_crash_on_the_slow_path_repeats_the_bytes_or_starts_nothing",
    ),
    18: (
        "an equivocated last result; a restored database; an edited log",
        f"{ELSEWHERE}::test_an_equivocated_last_result_is_seen_by_every_honest_site",
        f"{ELSEWHERE}::test_without_a_helper_the_second_result_is_refused_at_once",
        f"{ELSEWHERE}::test_a_restored_backup_is_seen_by_whoever_holds_an_earlier_hello",
        "secagg/test_audit.py::test_any_edit_is_seen",
    ),
    19: (
        "bad shares by a dealer or by a holder",
        f"{REPLAY}::test_unchecked_shares_would_spoil_the_sum_without_a_name",
        f"{REPLAY}::test_a_holder_of_wrong_shares_is_named",
        f"{REPLAY}::test_a_dealer_of_shares_that_open_nothing_is_named",
        f"{COMPLAINTS}::test_a_lying_dealer_is_named_by_everybody",
        f"{COMPLAINTS}::test_a_complaint_about_an_honest_dealer_names_its_author",
    ),
    20: (
        "FB: overflow at ten sites, failures at four, crashes after many rounds",
        f"{ELSEWHERE}::test_slots_with_room_for_eight_summands_overflow_at_ten",
        f"{ELSEWHERE}::test_our_largest_inputs_do_not_wrap_at_any_number_of_sites",
        "secagg/test_drops.py::test_many_rounds_with_drops_replay_as_integers",
        "secagg/test_drops.py::test_a_thousand_rounds_with_drops_in_flat_memory",
    ),
}


def test_the_list_has_twenty_rows():
    assert sorted(ROWS) == list(range(1, 21))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_tests_that_exist(row):
    _, *tests = ROWS[row]
    assert tests
    for name in tests:
        path, test = name.split("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
