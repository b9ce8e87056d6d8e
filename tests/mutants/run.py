"""Break the code on purpose, line by line, and see that a test notices.

`make mutants MODULE=adjode/discrete` makes every mutant of that module (a sign, an index, a constant,
a condition) with mutmut, and runs the tests below against each. A mutant that no test refuses must
stand in explained.toml, with the reason why that is right; otherwise the command fails. It also
fails on an explanation that nothing needs any more. TESTS names the modules that carry mathematics or
decide what is true. src/movable draws, and has tests of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "_build" / "mutants"
EXPLAINED = Path(__file__).with_name("explained.toml")


def some(file, *names):
    """Tests of one file: where it has slow ones, the fast ones are named."""
    return [f"adjode/test_{file}.py::test_{name}" for name in names]


# The tests that run against the mutants of a module: few, fast, and made for it.
BAD, SOLVE = "adjode/test_bad_inputs.py", "adjode/test_solve.py"
STEPS_BACK = "adjode/test_discrete.py::test_discrete_adjoint_is_the_derivative_of_the_steps"
ALL_PARTS = "adjode/test_discrete.py::test_with_observations_running_cost_and_explicit_theta"
OVERFLOW = "adjode/test_discrete.py::test_an_adjoint_that_overflows_is_refused_without_a_warning"
JUMPS = "adjode/test_continuous.py::test_lambda_jumps_by_l_z_at_each_observation"
IMPLICIT = "adjode/test_stiff.py::test_discrete_adjoint_is_the_derivative_of_the_implicit_steps"
RADAU = "adjode/test_stiff.py::test_radau_is_collocation_and_damps_what_is_stiff"
UNTRACED = "adjode/test_bad_inputs.py::test_a_field_that_autograd_cannot_trace_is_never_a_zero_gradient"
LAYOUTS = "adjode/test_fast.py::test_a_batch_is_used_in_the_layout_that_suits_the_field"
TEN_STEPS = "adjode/test_solve.py::test_a_solve_has_ten_steps_and_so_has_a_way_back"
HELD = some(
    "replay",
    "what_is_hidden_between_the_nodes_is_refused",
    "the_first_step_is_held_as_well",
    "one_stage_after_the_other_is_held_as_well",
)
KEEPS_NOTHING = "adjode/test_memory.py::test_backsolve_keeps_nothing_of_its_steps"
KEEPS_DECAY = "adjode/test_stiff.py::test_explicit_steps_stay_where_decay_decays"
HANDS_OVER = "adjode/test_stiff.py::test_auto_hands_stiff_problems_over_and_keeps_the_others"
BY_STAGES = "adjode/test_partner.py::test_a_step_by_stages_refuses_an_implicit_scheme"
SHRINKS = "adjode/test_tableau.py::test_the_estimated_error_shrinks_at_its_own_order"
ANY_SIZE = "adjode/test_closed_form.py::test_the_gradient_is_linear_in_the_size_of_the_loss"
BUDGET = "adjode/test_guards.py::test_a_budget_for_the_way_back_is_relative_to_the_way_forth"
CHECKPOINTS = some(
    "checkpoint",
    "a_plan_reverses_every_step_with_the_fewest_advances",
    "plans_known_by_hand",
    "many_checkpoints_are_no_recursion",
    "by_default_no_step_is_advanced_over_more_than_twice",
    "the_same_bits_with_observations_running_cost_and_explicit_theta",
    "the_same_bits_where_nothing_is_observed_at_the_ends",
    "the_steps_taken_again_are_those_of_the_formula",
    "stored_states_are_counted",
    "the_trajectory_must_have_its_times_and_explicit_steps",
)
PARTNERS = some(
    "partner",
    "the_partner_of_the_partner_is_the_scheme_and_their_difference_the_defect",
    "a_symplectic_scheme_is_its_own_partner",
    "known_partners",
    "without_a_weight_there_is_no_partner_but_a_discrete_adjoint",
)
BATCHES = some(
    "fast",
    "fixed_steps_backwards_in_time",
    "implicit_schemes_one_linear_system_for_the_stages_of_each_step",
    "a_batch_is_used_in_the_layout_that_suits_the_field",
    "each_way_by_itself",
    "small_blocks_go_by_jacobians_and_large_ones_by_stages",
    "where_the_chunks_end_does_not_matter",
    "one_step_and_many",
    "a_guess_at_the_structure_that_is_wrong_is_refused",
    "a_planted_error_is_refused_and_the_result_is_right",
    "values_or_derivatives_that_a_batch_changes_are_refused",
    "a_batch_that_goes_wrong_later_is_refused_there",
    "nodes_that_influence_each_other_only_through_derivatives_are_refused",
    "parameters_that_are_zero_do_not_hide_a_wrong_axis",
    "what_acts_but_for_a_time_is_held_against_a_single_state",
    "what_acts_but_for_a_time_or_not_at_all_is_no_reason_to_give_a_batch_up",
    "fields_that_count_or_refuse_batches_are_served",
    "a_field_that_writes_to_its_state_or_clock_does_no_harm",
    "an_interrupt_is_not_swallowed",
    "warnings_of_an_attempt_are_not_shown",
    "stiff_stages_in_a_batch",
    "an_adjoint_that_overflows_is_refused_without_a_warning",
    "a_running_cost_adds_its_rows_at_every_stage",
    "a_running_cost_on_fixed_steps_backwards_in_time",
    "a_running_cost_is_asked_once_where_it_counts",
    "a_running_cost_without_a_derivative_is_refused_and_one_that_raises_says_so",
    "a_running_cost_alone_drives_lambda_from_zero",
    "propagators_with_a_running_cost_have_one_more_row",
    "the_batch_on_nodes_of_its_user",
    "no_axis_of_the_state_or_of_theta_is_as_long_as_that_of_the_nodes",
    "a_layout_is_a_turn_and_back",
    "the_nodes_are_the_stages_that_count",
    "values_agree_to_the_rounding_of_f_and_of_z_over_a_step",
    "a_batch_says_what_is_wrong_with_the_shape_of_its_result",
    "values_of_a_batch_need_no_trace_and_rows_of_z_none_of_theta",
    "a_row_everywhere_is_that_row_at_each_node",
    "a_row_that_is_the_same_for_all_cases_stays_one",
    "cases_are_apart_by_what_f_is_made_of",
    "a_problem_without_a_state_has_a_derivative_in_theta_alone",
    "a_guess_is_proven_by_the_rows_to_a_trillionth_of_lambda_and_its_parts",
    "propagators_of_a_linear_field_are_the_rows_of_the_stages",
    "the_memory_of_a_chunk_is_what_its_trace_and_its_jacobians_hold",
    "blocks_that_are_all_of_a_state_are_apart_where_the_nodes_are",
    "values_that_are_the_same_by_coincidence_are_not_enough",
    "the_same_row_again_is_not_computed_again",
    "of_fewer_nodes_than_were_traced_covectors_move_these_alone",
    "beside_the_stages_f_z_is_known_at_the_nodes_and_in_the_middles",
    "nothing_is_beside_a_large_state_implicit_stages_or_where_no_direction_is_given",
    "where_f_has_no_derivative_beside_the_stages_the_gradient_is_that_of_the_stages",
    "f_z_is_not_known_where_some_steps_went_another_way",
    "an_f_that_refuses_what_is_beside_is_taken_as_a_batch_all_the_same",
    "lambda_has_two_ends_where_it_jumps",
)
TAPES = [
    *("adjode/test_tape.py", "adjode/test_rules.py", "adjode/test_apart.py"),
    *some("fast", "what_only_the_rows_of_theta_need_is_not_computed_where_nobody_asks"),
]
NODES = [
    *some("fast", "what_acts_but_for_a_time_is_held_against_a_single_state"),
    *some("fast", "nodes_are_apart_where_every_other_one_tells_the_same"),
    *some("fast", "each_parameter_that_acts_is_held_against_a_single_state_once"),
    *some("fast", "a_layout_in_which_the_nodes_are_plainly_apart_comes_first"),
    *some("fast", "rows_that_vanish_on_their_way_are_no_reason_to_refuse_a_batch"),
    *some("fast", "what_only_the_rows_of_theta_need_is_not_computed_where_nobody_asks"),
    *some("fast", "derivatives_are_those_of_one_state_also_where_values_are_lost_in_rounding"),
    *some("fast", "a_batch_is_tried_on_the_last_step_without_a_warning"),
    *some("fast", "a_part_of_a_trace_is_the_batch_of_these_nodes"),
    *some("fast", "what_moves_with_theta_at_the_nodes_of_a_batch"),
    "adjode/test_moves.py::test_a_batch_in_pieces_is_the_batch",
]
IMPLICIT_STEPS = some(
    "stiff",
    "discrete_adjoint_is_the_derivative_of_the_implicit_steps",
    "the_stages_satisfy_their_equations",
    "auto_hands_stiff_problems_over_and_keeps_the_others",
    "radau_by_name_is_within_the_tolerance_everywhere",
    "a_running_cost_of_a_stiff_problem",
    "f_z_by_pullbacks_or_by_differences",
    "a_stiff_field_that_autograd_cannot_trace_is_solved",
    "the_iteration_gives_up_where_it_does_not_converge",
    "implicit_steps_stop_where_explicit_ones_do",
    "adaptive_stages_are_found_far_below_the_tolerance",
    "each_implicit_step_has_an_error_below_a_thousandth_of_the_tolerance",
    "the_next_stages_are_foreseen_where_the_solution_is_a_polynomial",
    "a_linear_problem_takes_newton_one_step_and_another_look",
    "newton_knows_when_what_is_left_is_rounding",
    "implicit_steps_cost_as_jacobians_and_at_last_as_linear_algebra_does",
    "implicit_steps_leave_no_slivers_and_do_not_stay_short_after_a_stop",
    "differences_take_the_place_of_pullbacks_only_where_autograd_fails",
    "a_zero_beside_large_entries_is_differenced_with_a_step_of_its_own",
    "observations_and_a_running_cost_on_implicit_steps",
    "a_steep_running_cost_does_not_stop_the_iteration",
    "the_error_of_an_implicit_step_is_filtered_once_or_twice_by_its_formula",
    "an_error_is_looked_at_twice_in_the_first_step_and_after_a_refused_one",
    "the_iteration_ends_where_the_next_correction_would_be_below_one_unit",
    "an_iteration_that_is_not_done_after_twenty_rounds_is_good_below_the_slack",
    "corrections_that_double_end_the_iteration_a_round_later_where_f_z_has_empty_rows",
    "the_size_of_a_guess_that_is_far_off_is_not_that_of_the_stages",
    "an_f_z_that_is_not_finite_ends_the_iteration_without_an_error",
    "fixed_implicit_steps_find_their_stages_whatever_the_size_of_the_state",
    "the_message_says_where_implicit_steps_stopped_and_where_they_should_end",
    "a_stage_counts_by_its_weight_or_through_other_stages",
    "a_step_back_takes_pullbacks_for_the_stages_that_count",
    "a_problem_without_a_state_is_solved_by_implicit_steps",
)
ESTIMATES = some(
    "guards",
    "the_estimate_is_not_ten_times_too_small",
    "lambda_that_moves_while_z_rests_is_seen_and_repaired",
    "amplified_is_the_error_that_the_loss_sees",
    "unresolved_is_the_error_of_lambda_to_a_factor",
    "a_running_cost_drives_lambda_too",
    "lambda_has_two_ends_at_each_node",
    "embedded_errors_are_those_of_the_step_control",
    "a_continuous_adjoint_has_errors_of_its_own_steps",
    "a_running_cost_sees_the_states_on_the_way",
    "what_stands_out_is_a_thousand_times_its_neighbours",
    "a_cubic_lambda_is_resolved_and_a_quartic_one_by_its_fifth_derivative",
    "the_error_of_the_integral_over_theta_is_that_of_the_error_weights",
    "what_cannot_be_nudged_tells_nothing",
    "unresolved_is_what_cubics_miss_at_all_steps_or_at_some_and_where_it_was_hard",
    "slopes_that_are_known_are_not_asked_for",
    "where_f_z_is_known_f_is_not_asked_and_the_estimate_is_the_same",
    "nodes_that_f_takes_no_batch_of_are_asked_for_one_by_one",
    "a_kink_in_a_short_step_counts_as_it_is",
    "unseen_is_the_error_of_lambda_f_theta_w_in_every_chunk",
    "a_nudge_without_a_value_tells_nothing",
    "growth_is_by_how_much_the_rows_grow_on_their_way_back",
    "reach_is_what_the_errors_of_the_steps_come_to",
    "rows_that_the_states_move_count_beside_all_rows",
    "the_rows_of_a_running_cost_count_for_the_time_around_each_node",
    "errors_of_which_nothing_is_known_add_up",
    "the_error_weights_see_the_running_cost",
    "a_cost_that_takes_no_nudge_does_not_hide_f",
    "a_loss_that_raises_where_no_solve_went_does_so_in_no_estimate",
    "a_loss_near_the_end_of_its_domain_is_right_or_refused",
    "a_parameter_that_acts_for_a_moment_is_seen_beside_a_running_cost",
)
GUARDS = some(
    "guards",
    "two_gradients_that_are_mostly_errors_may_be_alike_by_chance",
    "the_estimate_is_not_ten_times_too_small",
    "a_field_that_jumps_as_z_moves_is_refused",
    "jumps_in_time_and_kinks_are_no_jumps",
    "a_loss_that_saw_other_states_is_not_repaired_but_refused",
    "helpers_of_the_guard",
    "the_same_steps_again_settle_no_doubt",
    "a_looser_solve_of_as_many_steps_tells_nothing",
    "another_strategy_is_held_against_a_better_gradient",
    "rows_that_a_better_solve_would_change_count",
    "a_jump_is_what_halves_of_halves_do_not_make_smaller",
    "a_flow_that_pulls_neighbours_apart_where_no_row_looks_is_seen",
    "what_a_gradient_is_measured_by",
    "a_grid_is_halved_and_merged",
    "another_solve_has_the_tolerances_times_a_factor_and_steps_no_longer_than_a_grid",
    "a_witness_is_called_for_what_it_can_tell",
    "lambda_does_not_know_all_rows_of_a_running_cost",
    "what_rounding_does_in_a_step_is_no_jump",
    "halves_are_a_witness_for_the_rows_as_they_may_be_and_for_none_where_f_breaks_off",
    "to_what_the_first_order_says_much_of_its_square_is_added",
    "halves_are_asked_for_a_gradient_where_the_first_order_settles_nothing",
    "gradients_of_ever_tighter_solves_are_held_against_each_other",
    "implicit_steps_are_confirmed_by_solves_that_are_a_thousand_times_tighter_and_more",
    "an_estimate_of_implicit_steps_takes_the_first_solve_that_has_other_steps",
    "a_looser_gradient_is_off_by_ten_times_as_much_and_counts_with_a_margin_of_three",
    "both_parts_of_an_error_beside_a_better_gradient_count",
    "rows_may_move_by_a_fifth_of_what_is_allowed",
    "an_estimate_of_implicit_steps_is_a_looser_gradient",
    "an_estimate_has_its_parts_in_the_unit_of_what_is_allowed",
    "a_looser_solve_is_no_witness_where_its_errors_are_as_large_as_z",
    "a_checkpointed_gradient_has_a_looser_one_for_witness_unless_rows_grow_too_much",
    "the_sweep_of_a_discrete_gradient_serves_its_estimate_and_its_witness",
    "the_rows_of_a_loss_are_the_last_lambda_and_its_jumps",
    "a_state_without_entries_has_no_jumps",
    "implicit_steps_at_rest_are_held_against_others",
    "a_second_looser_gradient_is_asked_for_where_the_first_is_not_clear",
) + some(
    "scalars",
    "rounding_is_no_other_f",
    "another_f_is_refused_where_it_leads_elsewhere",
    "f_itself_is_solved_as_tightly",
    "states_are_the_same_within_the_tolerances_where_the_loss_sees_them",
)
ROOTS = some(
    "algebraic",
    "three_derivatives_of_a_square_root",
    "a_circle_and_a_line",
    "linear_systems_as_autograd_solves_them",
    "the_pattern_does_not_change_the_gradient",
    "kepler",
    "the_rows_of_a_matrix_of_unknowns",
    "the_way_back_is_one_trace_of_c_and_no_new_factor",
    "a_gradient_in_the_start_is_zero",
    "no_parameters_and_unused_ones",
    "steps_are_damped_where_full_ones_diverge",
    "a_start_from_which_full_steps_go_round_in_circles_costs_few_steps",
    "what_rounding_leaves_is_enough_where_the_tolerance_is_beyond_it",
    "the_gradient_belongs_to_the_root_and_not_to_the_last_step_before_it",
    "a_step_out_of_the_domain_is_shortened",
    "a_start_where_c_u_is_nearly_singular_may_still_lead_to_a_root",
    "scaling_the_equations_changes_nothing",
    "unknowns_of_very_different_sizes_are_each_right",
    "the_estimate_of_what_rounding_leaves_is_above_the_error_and_not_far",
    "a_pattern_that_is_too_narrow_is_refused",
    "even_a_small_entry_outside_of_the_pattern_is_seen",
    "a_band_takes_one_pullback_a_diagonal_and_an_arrow_few",
    "the_message_says_what_is_wrong_with_a_system",
    "a_factor_solves_and_multiplies_from_both_sides",
    "what_rounding_leaves_in_a_diagonal_system_is_known",
    "noise_is_the_largest_of_three_draws_and_the_same_each_time",
    "a_band_has_its_entries_and_groups",
    "a_mask_may_have_its_entries_in_any_order",
    "a_step_is_halved_until_the_next_one_is_shorter",
    "what_is_noise_does_not_count",
    "the_entries_of_c_u_come_from_few_rows",
    "entries_that_do_not_give_a_random_row_are_refused",
    "every_pattern_gives_the_derivatives_of_differences[banded]",
    "a_loss_that_ignores_u_has_a_zero_gradient",
    "what_rounding_leaves_is_that_of_all_equations_from_both_sides",
    "rounding_of_sums_grows_with_the_longest_row_on_the_side_that_is_solved",
    "noise_does_not_cancel",
    "a_solution_has_mixed_derivatives_in_the_matrix_and_the_right_side",
    "an_adjoint_that_overflows_is_refused_without_a_warning",
    "what_rounding_spoils_is_measured_by_the_solution",
    "a_slow_step_far_from_the_root_does_not_matter",
    "one_step_is_enough_where_the_tolerance_is_as_loose_as_that",
    "where_newton_stopped_is_said_and_whether_c_u_is_nearly_singular_there",
    "an_entry_outside_of_the_pattern_is_seen_in_whichever_row_and_column_it_stands",
)
CHECKERS = some(
    "verify",
    "the_checker_accepts_a_right_gradient_and_says_how_much_that_shows",
    "steps_are_chosen_when_absent",
    "the_checker_refuses_a_wrong_gradient",
    "the_verdict_refuses_it_too_and_says_why",
    "the_rate_is_refused_from_both_sides",
    "central_remainders_are_of_order_three_and_exclude_more",
    "remainders_with_the_curvature_are_of_order_three",
    "taylor_says_when_it_can_say_nothing",
    "taylor_refuses_what_it_cannot_use",
    "order_of_the_trapezoidal_rule",
    "an_order_is_refused_from_both_sides",
    "a_wrong_limit_needs_an_exact_value",
    "errors_near_rounding_have_no_order",
    "order_refuses_what_it_cannot_use",
)
AHEAD = some(
    "halves",
    "errors_travel_ahead_as_the_tangent_says",
    "a_sweep_sees_ahead_where_it_has_all_propagators_of_explicit_steps",
    "how_many_nodes_go_at_once_makes_no_difference",
) + some(
    "fast",
    "columns_that_turn_out_to_hang_together_are_one_block",
    "a_sweep_notes_slopes_at_its_nodes_and_what_moves_with_theta",
    "what_moves_with_theta_is_not_known_where_nobody_asked_or_nothing_can_tell",
    "where_the_parts_of_a_trace_are_wrong_each_step_has_its_own",
    "steps_that_go_together_are_traced_once",
    "a_batch_is_wrong_where_states_are_small_though_they_grow_large",
    "blocks_are_held_against_rows_that_lambda_does_not_have",
    "blocks_are_all_of_a_matrix_or_not",
    "a_field_that_leaves_no_trace_at_first",
    "a_field_that_takes_no_more_than_one_covector_at_a_time",
)
TIME_GRADIENTS = [
    "adjode/test_closed_form.py::test_observations_anywhere_between_and_at_both_ends",
    "adjode/test_closed_form.py::test_running_cost_with_explicit_time_and_theta",
    "adjode/test_closed_form.py::test_all_parts_of_a_loss_add_up",
]
NESTS = [
    "adjode/test_odeint.py::test_a_nest_keeps_its_named_tuples_and_its_floats",
    *some("odeint", "theta_may_be_a_nest_built_inside_the_loss", "the_gradient_has_the_structure_of_theta"),
    "adjode/test_memory.py::test_a_nest_of_parameters_leaves_no_cycles_behind",
]
ONCE_MORE = [
    "adjode/test_solve.py::test_the_steps_once_more_are_those_of_the_solve",
    *some("odeint", "second_derivatives_at_several_times_that_run_backwards", "the_cotangent_may_be_traced"),
    *some("odeint", "a_single_time_inside_another_trace"),
    "adjode/test_stiff.py::test_second_and_third_derivatives_go_through_implicit_steps",
]
KEPT = [
    *some("solve", "costs_are_added_one_by_one", "hard_steps_of_one_size_are_told_apart_by_their_turn"),
    *some("solve", "the_two_shortest_steps_and_the_two_of_fastest_turn_are_kept_in_their_order"),
    *some("solve", "hard_steps_are_those_that_took_tries_or_are_short_beside_the_ones_before"),
    *some("solve", "dense_output_has_the_shape_of_the_state_for_each_time_also_a_little_outside"),
    *some("solve", "fixed_steps_that_overflow_are_an_error"),
    *some("solve", "the_middle_of_a_step_is_that_of_the_cubic_through_its_ends"),
    KEEPS_NOTHING,
    *some("solve", "what_is_stored", "nodes_lie_on_every_stop_and_carry_f"),
    *some("solve", "states_and_dense_output_are_within_the_tolerance"),
    *some("solve", "evaluations_are_counted_and_none_is_wasted"),
    *some("solve", "running_cost_is_controlled_though_the_state_rests"),
    *some("guards", "embedded_errors_are_those_of_the_step_control"),
    *some("guards", "amplified_is_the_error_that_the_loss_sees"),
    *some("fast", "beside_the_stages_f_z_is_known_at_the_nodes_and_in_the_middles"),
    "adjode/test_guards.py::test_a_jump_is_what_halves_of_halves_do_not_make_smaller",
    "adjode/test_guards.py::test_a_field_that_jumps_as_z_moves_is_refused",
]
WHOLE = some(
    "odeint",
    "what_is_no_number_is_named_also_in_a_list_that_holds_traced_values",
    "a_backward_pass_knows_its_loss_by_rows_and_how_they_may_bend",
    "options_reach_the_solve_and_a_plain_call_keeps_the_stops_alone",
    "a_gradient_inside_another_trace_is_the_one_that_is_trusted",
    "a_single_time_inside_another_trace",
    "f_is_replayed_where_a_gradient_is_asked_for",
    "parameters_that_change_in_place_are_those_of_the_solve_for_second_derivatives_too",
    "the_steps_that_are_traced_are_those_of_the_solve",
    "states_come_back_at_ts_in_the_shape_of_z0",
    "one_backward_pass_for_all_arguments",
    "theta_may_be_a_nest_built_inside_the_loss",
    "the_gradient_has_the_structure_of_theta",
    "z0_of_any_shape_reaches_f_as_it_is",
    "times_and_starts_may_be_lists_that_hold_traced_values",
    "integers_are_numbers",
    "no_parameters_and_a_single_time",
    "a_state_without_entries_has_a_zero_gradient",
    "a_traced_value_that_f_captures_is_refused",
    "second_derivatives_at_several_times_that_run_backwards",
    "the_cotangent_may_be_traced",
    "value_and_grad_gives_the_value_of_a_plain_call",
    "exceptions_of_the_field_pass_through_untouched",
    "arguments_are_not_written_to",
    "gradients_in_z0_ts_and_theta_at_once",
)
TESTS = {
    "adjode/discrete": [STEPS_BACK, ALL_PARTS, "adjode/test_discrete.py", IMPLICIT, BAD],
    "adjode/vjp": ["adjode/test_vjp.py", UNTRACED, LAYOUTS],
    "adjode/rules": ["adjode/test_rules.py", "adjode/test_tape.py"],
    "adjode/apart": ["adjode/test_apart.py", "adjode/test_tape.py"],
    "adjode/tape": [*TAPES, UNTRACED, LAYOUTS],
    "adjode/scalars": ["adjode/test_scalars.py"],
    "adjode/replay": ["adjode/test_scalars.py", "adjode/test_replay.py"],
    "adjode/tableau": ["adjode/test_tableau.py", BAD, SOLVE, RADAU],
    "adjode/loss": ["adjode/test_loss.py", ALL_PARTS, BAD, OVERFLOW, JUMPS],
    "adjode/checkpoint": [*CHECKPOINTS, OVERFLOW],
    "adjode/steps": [SOLVE, SHRINKS, KEEPS_DECAY, HANDS_OVER, BY_STAGES],
    "adjode/partner": [*PARTNERS, BAD],
    "adjode/continuous": [
        "adjode/test_continuous.py",
        TEN_STEPS,
        KEEPS_NOTHING,
        *TIME_GRADIENTS,
        BAD,
        ANY_SIZE,
        BUDGET,
    ],
    "adjode/blocks": ["adjode/test_blocks.py"],
    "adjode/fast": [*BATCHES, *AHEAD, "adjode/test_blocks.py", *HELD],
    "adjode/batched": [*BATCHES, *NODES, *HELD],
    "adjode/stiff": IMPLICIT_STEPS,
    "adjode/halves": ["adjode/test_halves.py"],
    "adjode/moves": ["adjode/test_moves.py"],
    "adjode/estimate": ESTIMATES,
    "adjode/guards": GUARDS,
    "adjode/algebraic": ROOTS,
    "adjode/newton": ROOTS,
    "adjode/linear": ROOTS,
    "adjode/structure": NESTS,
    "adjode/retrace": ONCE_MORE,
    "adjode/trajectory": KEPT,
    "adjode/primitive": [*WHOLE, BAD],
    "receipts/premises": ["receipts/test_traps.py", "receipts/test_check.py"],
    "receipts/jets": ["receipts/test_forms.py", "receipts/test_check.py"],
    "receipts/wrong": ["receipts/test_wrong.py"],
    "receipts/same": ["receipts/test_forms.py", "receipts/test_traps.py"],
    "receipts/depends": ["receipts/test_traps.py"],
    "receipts/measured": ["receipts/test_measured.py"],
    "receipts/decide": ["receipts/test_traps.py", "receipts/test_forms.py", "receipts/test_check.py"],
    "receipts/tree": [
        "receipts/test_tree.py",
        "receipts/test_traps.py",
        "receipts/test_forms.py",
        "receipts/test_check.py",
    ],
    "receipts/check": [
        "receipts/test_check.py",
        "receipts/test_traps.py",
        "receipts/test_ledger.py",
        "receipts/test_feedback.py",
    ],
    "adjode/verify": CHECKERS,
    "adjode/duality": ["adjode/test_duality.py"],
    "adjode/invariant": ["adjode/test_duality.py", "adjode/test_wrong_gradients.py"],
}
# How long a mutant may run, over the time of its tests: a loop without end is a kill, too.
SETTINGS = """
[tool.mutmut]
source_paths = ["src/"]
only_mutate = ["src/{module}.py"]
pytest_add_cli_args = ["-q", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
timeout_multiplier = 3.0
timeout_constant = 10.0
"""
KILLED = {"killed", "timeout", "segfault"}


def main(modules):
    unknown = [m for m in modules if m not in TESTS]
    if unknown:
        sys.exit(f"No tests are named for {', '.join(unknown)}; there are some for {', '.join(TESTS)}")
    explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))
    families, single = explained.get("family", []), explained.get("survivor", [])
    rows = [check(m, families, [e for e in single if e["module"] == m]) for m in modules or TESTS]
    print("\nmodule              mutants  killed  explained  unexplained")
    for module, counts in rows:
        numbers = (counts[name] for name in ("mutants", "killed", "explained", "unexplained"))
        print("{:18s} {:8d} {:7d} {:10d} {:12d}".format(module, *numbers))
    sys.exit(any(counts["unexplained"] or counts["stale"] for _, counts in rows))


def check(module, families, explained):
    """Run mutmut over a module, and report."""
    here = WORK / module.replace("/", "-")
    prepare(module, here)
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    log = here / "mutmut.log"
    with log.open("w") as out:
        done = subprocess.run(command, cwd=here, env=environment, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{module}: mutmut stopped; the end of {log}:\n" + log.read_text()[-3000:])
    return report(module, here, families, explained)


def report(module, here, families, explained):
    """The counts of a module, after its survivors and its stale explanations are printed."""
    counts, used = Counter(), set()
    for name, status in results(module, here):
        counts["mutants"] += 1
        if status in KILLED:
            counts["killed"] += 1
            continue
        function, was, now = change(name, module, here)
        reasons = [i for i, e in enumerate(explained) if fits(e, function, was, now)]
        used.update(reasons)
        known = reasons or any(belongs(family, was, now) for family in families)
        counts["explained" if known else "unexplained"] += 1
        if not known:
            print(f'\n[[survivor]]  # {status}\nmodule = "{module}"\nfunction = "{function}"')
            print(f"was = {json.dumps(was)}\nnow = {json.dumps(now)}\nreason = ", flush=True)
    for i, e in enumerate(explained):
        if i not in used:
            counts["stale"] += 1
            print(f"\n{module}, {e['function']}: this explanation fits no survivor any more: {e['now']}")
    return module, counts


def prepare(module, here):
    """A copy of the code and the tests, with mutmut's settings for this module."""
    shutil.rmtree(here, ignore_errors=True)
    without = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("src", "tests/adjode", "tests/receipts"):
        shutil.copytree(ROOT / folder, here / folder, ignore=without)
    shutil.copy(ROOT / "tests/conftest.py", here / "tests")
    tests = json.dumps([f"tests/{name}" for name in TESTS[module]])
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = SETTINGS.format(module=module, tests=tests)
    (here / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def results(module, here):
    """Name and fate of each mutant."""
    from mutmut.stats import status_by_exit_code

    meta = json.loads((here / "mutants" / "src" / f"{module}.py.meta").read_text())
    return [(name, status_by_exit_code[code]) for name, code in meta["exit_code_by_key"].items()]


def change(name, module, here):
    """The function of a mutant, and the lines that it takes out and puts in."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    before = Path.cwd()
    os.chdir(here)
    try:
        diff = get_diff_for_mutant(name, path=f"src/{module}.py").splitlines()
    finally:
        os.chdir(before)
    mangled = name.rpartition("__mutmut_")[0].rpartition(".")[2]  # x_function or xǁClassǁmethod
    function = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    lines = {sign: [x[1:].strip() for x in diff[2:] if x.startswith(sign)] for sign in "-+"}
    return function, " ".join(lines["-"]), " ".join(lines["+"])


def fits(entry, function, was, now):
    """Is this the explained change? ⋯ stands for any text, and □ for one character."""
    wild = lambda text: re.escape(text).replace("⋯", ".*").replace("□", ".")
    same = lambda key, text: re.fullmatch(wild(entry[key]), text)
    return bool(entry["function"] == function and same("was", was) and same("now", now))


def belongs(family, was, now):
    """Does the change touch nothing but what the family ignores, on a line of its kind?"""
    plain = lambda text: re.sub(family["ignores"], "", text).lower()
    return bool(re.search(family["line"], was)) and plain(was) == plain(now)


if __name__ == "__main__":
    main(sys.argv[1:])
