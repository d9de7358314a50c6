use aqueduct_core::{Position, StoredAttempts};

/// Restricts hand-outs after a take-over without release (rule 5).
///
/// ```text
/// announcing: nothing is handed out that a commit has not announced before
/// isolated:   up to `isolated_until`, events run on trial only:
///
///   none ──> batch (its mark counts for no event) ──> none ──> ... ──> one, alone
///    ^                                                                   │
///    └──────────────────────── settled, or failed ───────────────────────┘
/// ```
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) isolated_until: Option<Position>,
    /// Whether the last owner died while one event ran alone.
    pub(super) in_order: bool,
    pub(super) trial: Option<Trial>,
    pub(super) announce: Option<Announce>,
}

/// Events that run under a durable mark, from their choice to their settlement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) suspects: Suspects,
    pub(super) mark: StoredAttempts,
    pub(super) durable: bool,
}

/// The events on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspects {
    /// One event, alone in the process: a death counts against it.
    One(u32),
    /// The events up to a position, together: a death counts for none and narrows the range.
    UpTo(Position),
}

/// The events that may be handed out while each hand-out is announced first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announce {
    /// The last commit announced the events up to here.
    pub(super) up_to: Option<Position>,
    /// Announcing ends once these are settled: the first commit of this owner announced them.
    pub(super) until: Option<Position>,
}

impl Guard {
    /// Returns whether hand-outs wait for marks or announcements.
    pub(super) fn is_up(&self) -> bool {
        self.isolated_until.is_some() || self.announce.is_some()
    }

    pub(super) fn is_isolated(&self, position: Position) -> bool {
        self.isolated_until.is_some_and(|until| position <= until)
    }

    /// Returns the event that runs alone.
    pub(super) fn alone(&self) -> Option<u32> {
        match self.trial?.suspects {
            Suspects::One(at) => Some(at),
            Suspects::UpTo(_) => None,
        }
    }

    /// Returns whether an event at `position` may be handed out now, in its turn.
    pub(super) fn lets_out(&self, position: Position, troubled: bool) -> bool {
        if let Some(trial) = self.trial {
            // Nothing runs beside suspects, so that a death points at them.
            return match trial.suspects {
                Suspects::UpTo(up_to) => {
                    let in_turn = position < up_to && !troubled || position == up_to;
                    trial.durable && in_turn
                }
                Suspects::One(_) => false,
            };
        }
        let announced = self.announce.is_none_or(|it| Some(position) <= it.up_to);
        announced && !self.is_isolated(position)
    }

    /// Returns the highest position to store as handed out, of those that are or may soon be.
    pub(super) fn handed_out(
        &self,
        handed_out: Option<Position>,
        seen: Option<Position>,
    ) -> Option<Position> {
        match self.trial.map(|trial| trial.suspects) {
            // The next owner looks for the cause no further than this.
            Some(Suspects::UpTo(up_to)) => Some(up_to),
            Some(Suspects::One(_)) => self.isolated_until,
            None if self.announce.is_some() => handed_out.max(seen),
            None => handed_out,
        }
    }

    /// Notes what a commit made durable; returns whether more may be handed out now.
    pub(super) fn committed(
        &mut self,
        attempts: Option<StoredAttempts>,
        handed_out: Option<Position>,
    ) -> bool {
        let mut opened = false;
        if let Some(trial) = &mut self.trial
            && attempts == Some(trial.mark)
        {
            opened = !trial.durable;
            trial.durable = true;
        }
        if let Some(announce) = &mut self.announce {
            if handed_out > announce.up_to {
                announce.until = announce.until.or(handed_out);
                opened = true;
            }
            // Also downwards: a trial announces less than the commit before it.
            announce.up_to = handed_out;
        }
        opened
    }

    /// Notes that everything up to `floor` is settled.
    pub(super) fn settled_to(&mut self, floor: Position) {
        if self.isolated_until.is_some_and(|until| floor >= until) {
            self.isolated_until = None;
            self.trial = None;
        }
        let announced = self.announce.and_then(|announce| announce.until);
        if announced.is_some_and(|until| floor >= until) {
            self.announce = None;
        }
    }
}
