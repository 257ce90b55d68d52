"""Sample size: the number of raters needed to detect a difference of d points between two systems that share their pages."""

from __future__ import annotations

import argparse

from musicgen.text_format import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("difference", type=float, help="points of the sliders' scale from 1 to 100")
    parser.add_argument("--items", type=int, default=40, help="items a system (default: 40, as in the paper)")
    parser.add_argument("--trials", type=int, default=10, help="pages a rater (default: 10)")
    parser.add_argument("--questions", type=int, default=1)
    parser.add_argument("--comparisons", type=int, default=1, help="pairs of systems under Holm's correction")
    parser.add_argument("--residual", type=float, help="standard deviation of one rating, from a pilot's var rest")
    parser.add_argument("--item-sd", type=float, help="standard deviation over items of the true difference")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--power", type=float, default=0.8)


def run(arguments: argparse.Namespace) -> None:
    from ..analysis import power

    residual = power.RESIDUAL_SD if arguments.residual is None else arguments.residual
    item = power.ITEM_SD if arguments.item_sd is None else arguments.item_sd
    plan = power.sample_size(
        arguments.difference,
        arguments.items,
        arguments.trials,
        residual=residual,
        item=item,
        alpha=arguments.alpha,
        wanted=arguments.power,
        comparisons=arguments.comparisons,
        questions=arguments.questions,
    )
    print(
        f"{counted(plan.raters_per_item, 'rater')} an item, {counted(plan.raters, 'rater')} of "
        f"{counted(arguments.trials, 'page')} each: "
        f"power {plan.power:.2f} for {arguments.difference:g} points with {counted(arguments.items, 'item')} "
        f"(residual sd {residual:g}, item sd {item:g})"
    )
