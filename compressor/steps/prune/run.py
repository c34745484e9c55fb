"""The steps of one pruning run, and what they leave: the smaller model, plans, proofs, rows of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.pruning.analysis import Analysis, analyse
from compressor.pruning.apply import cut_of
from compressor.pruning.budget import Origin, unrounded
from compressor.pruning.evidence import Evidence, together
from compressor.pruning.fresh_weights import reinitialised
from compressor.pruning.plan_history import PlanHistory
from compressor.pruning.preparation import Original
from compressor.pruning.schedule import steps_of
from compressor.pruning.weights_only import prove_only_weights, some_feeds
from compressor.pruning.written import demand_same
from compressor.results import GroupRow, ModelStats, Report
from compressor.steps import account, run_files
from compressor.steps.prune.choose import Means, chosen, chosen_changes, reasons_given, replayed_choice
from compressor.steps.prune.layer_options import Selected, changed_rows
from compressor.steps.prune.losses import Losses
from compressor.steps.prune.prove_changed import prove_changed, prove_stored
from compressor.steps.prune.prove_cut import cut_and_prove, prove_prepared
from compressor.steps.prune.recover import Recovery
from compressor.steps.prune.single_plan import replays
from compressor.steps.prune.sparsify import choice_after, trained_towards


@dataclass
class PruningRun:
    """The steps of one run: what they are made with, and what they leave.

    Attributes:
        settings: of the run, as they were settled.
        plan: says what goes, where one is replayed.
        distrusted: node -> why its rule is not believed.
        size: bytes of the file that was given.
        means: what choices are made with.
        recovery: holds the model as the last step left it.
        clock: receives the time of each phase.
        plan_history: what was cut.
        proofs: evidence of every cut.
        groups: rows of the report, by group.
        origin: costs of the model before the first step; None before it.
        notes: what the report has to say of the choice.
        ticket: the model at the weights that are rewound to, cut as far as the run has come; None without rewinding.
        sealed: a copy of the model from when its last proof was through; later steps and files start from that.
    """

    settings: PruneSettings
    plan: PruningPlan | None
    distrusted: Mapping[str, str]
    size: int
    means: Means
    recovery: Recovery
    clock: Clock
    plan_history: PlanHistory = field(default_factory=PlanHistory)
    proofs: list[Evidence] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    origin: Origin | None = None
    notes: list[str] = field(default_factory=list)
    ticket: ir.Model | None = None
    sealed: ir.Model = field(init=False)

    @property
    def model(self) -> ir.Model:
        """As the last step left it."""
        return self.recovery.model

    def all_steps(self, found: Analysis, read: Original) -> Analysis:
        """Takes every step; returns the analysis that the last one cut.

        Args:
            found: the model, analysed.
            read: where it was read from, for the proof that it was prepared rightly.
        """
        # From here on the fresh model is what the proof starts from.
        if self.settings.reinitialise == "before":
            fresh = reinitialised(found.model, self.settings.seed)
            self._demand_tied(found, found.model, fresh)
            found, read = self.analysed(fresh)
        tickets = self.recovery.tickets(found.model)
        if tickets is not None:
            for trained in tickets:
                self._demand_tied(found, found.model, trained)
            self.ticket, chosen_by = tickets
            found, read = self.analysed(chosen_by)
        for step in [self.settings] if self.plan is not None else steps_of(self.settings, self.size):
            # Not the first step: the model is another one since, and is analysed anew.
            if self.origin is not None:
                # Against its twin, so that an edit of either would show.
                found, read = self.analysed(self.sealed)[0], Original(self.model, self.model)
            found = self.step(step, found, read)
            self.sealed = self.model.clone()
        # Last, after all steps.
        if self.settings.refit_last:
            self.recovery.refit()
            self._demand_tied(found, self.sealed, self.model)
            self.sealed = self.model.clone()
        return found

    def analysed(self, model: ir.Model) -> tuple[Analysis, Original]:
        """The model, analysed, and the model itself."""
        with self.clock.phase("analyse"):
            return analyse(model, self.settings, self.distrusted), Original(model, model)

    def step(self, step: PruneSettings, found: Analysis, read: Original) -> Analysis:
        """Chooses, trains towards the choice where that is asked for, cuts, recovers, and proves.

        Args:
            step: settings of the step.
            found: the analysed model.
            read: where it was read from, for the proof that it was prepared rightly.

        Returns:
            The analysis that was cut: another one where training came before.
        """
        # Before anything is measured on the prepared graph, which could be wrong.
        missing = prove_prepared(read, found, self.settings, self.clock)
        with self.clock.phase("choose"), reasons_given(found):
            done = self._chosen(found, step)
        choice = done.choice
        trained = trained_towards(found, choice, self.recovery, self.plan is not None)
        if trained is not None:
            self._demand_tied(found, found.model, trained.model)
            found, read = self.analysed(trained.model)
            missing = prove_prepared(read, found, self.settings, self.clock)
            with self.clock.phase("choose"):
                # Units are numbered anew in the trained model, so that the choice has to be made in its terms.
                after = choice_after(trained, found, choice)
                choice = after or chosen(found, step, choice.origin, self.size, self.means)
        # Later steps have the same groups, narrower.
        if self.origin is None:
            losing = {removal.group for removal in choice.plan.removals}
            self.notes = unrounded([g for g in choice.groups if g.name in losing], self.settings)
        if self.ticket is not None:
            # What was chosen on the trained weights goes from those of the ticket.
            found, read = self.analysed(self.ticket)
            missing = prove_prepared(read, found, self.settings, self.clock)
            choice = replace(replayed_choice(choice.plan, found), origin=choice.origin)
        cut = cut_of(choice.plan, found)
        # Before the cut, as positions are counted in what earlier steps left.
        self.plan_history.add(choice.plan, cut, last=step.steps == 1)
        rows, self.origin = account.group_rows(choice.groups, cut, self.groups), choice.origin
        self.groups = account.with_scores(rows, choice.scored, cut)
        small, shown = cut_and_prove(found, choice, cut, self.settings, self.clock)
        # Recovery edits the other one; a clone shares its weights.
        bare = small.clone()
        self.ticket = None if self.ticket is None else small.clone()
        # Layers are fitted to what stood right before this cut, and not to the original.
        self.recovery.recover(found.model, small, cut, done.changes)
        shown += self._shown_of_recovery(found, bare, shown[-1] if shown else None)
        self.proofs += [replace(evidence, not_proved=[*missing, *evidence.not_proved]) for evidence in shown]
        return found

    def _shown_of_recovery(self, found: Analysis, cut: ir.Model, evidence: Evidence | None) -> list[Evidence]:
        """Proves what recovery left: the graph that was cut, with other weights, and layers that changed, as written.

        Args:
            found: what was cut.
            cut: what is left of it.
            evidence: what was proved of that; None where no channel went.
        """
        changed, left = self.recovery.changed, self.recovery.plain
        if self.recovery.idle:
            demand_same(cut, left, "what is left after a cut that nothing recovers")
            return []
        if changed is None:
            self._demand_tied(found, cut, left, evidence)
            return []
        shown = prove_changed(changed, found, self.settings, self.clock)
        self._demand_tied(found, cut, changed.unordered or changed.reference, evidence)
        # Training came after the layers were written.
        self._demand_tied(found, changed.model, left, shown[-1] if shown else None)
        return [*shown, *prove_stored(left, self.model, found, self.settings, self.clock)]

    def _demand_tied(
        self, found: Analysis, before: ir.Model, after: ir.Model, evidence: Evidence | None = None
    ) -> None:
        """Raises ProofFailed unless ``after`` is ``before`` with other weights, on the inputs of the evidence."""
        if after is before or self.settings.verify != "full":
            return
        with self.clock.phase("prove"):
            runs = None if evidence is None else evidence.runs
            feeds = runs.feeds if runs is not None else some_feeds(before, found.shapes, self.settings)
            prove_only_weights(before, after, feeds, self.settings)

    def _chosen(self, found: Analysis, step: PruneSettings) -> Selected:
        if self.plan is not None:
            return Selected(replayed_choice(self.plan, found), {})
        return chosen_changes(found, step, self.origin, self.size, self.means)

    def report(self, found: Analysis, before: ModelStats, notes: Sequence[str]) -> Report:
        """What was done, as far as it is known before the result is measured."""
        losses, aim = self.means.losses, self.means.aim
        done = account.report(found, before, self.groups, together(self.proofs), _as_done(self.settings, losses))
        done = done if aim is None else aim.added_to(done)
        warnings = [*done.warnings, *dict.fromkeys([*notes, *self.notes, *self.means.notes])]
        changed = changed_rows(self.recovery.changed, found.shapes.batch)
        return done.model_copy(update={"warnings": warnings, "changed": changed})

    def single_plan(self, source: ir.Model) -> PruningPlan | None:
        """The plan that leads from the original to the result in one; None where none does."""
        whole = replace(self.plan_history.plan(), files=tuple(run_files.file_names(source)))
        # A replay believes every rule at first, so a plan that needed some left alone has to be tried.
        once = (self.plan_history.replays and not self.distrusted) or replays(whole, source, self.model, self.settings)
        # A plan holds channels alone; changed layers cannot be replayed from it.
        return whole if once and self.recovery.changed is None else None

    def still_proved(self) -> Evidence | None:
        """What was proved of the model as it is now: nothing, where its weights were fitted or trained since."""
        changed = self.recovery.changed is not None
        rebuilt = self.settings.recover != "none" and (not changed or self.settings.uses_gradients)
        untouched = not rebuilt and not self.settings.refit_last
        return self.proofs[-1] if self.proofs and untouched else None


def _as_done(settings: PruneSettings, losses: Losses | None) -> PruneSettings:
    """The settings with the scope that ``auto`` came to."""
    if settings.scope != "auto":
        return settings
    return settings.model_copy(update={"scope": "loss" if losses is not None and losses.used else "local"})
