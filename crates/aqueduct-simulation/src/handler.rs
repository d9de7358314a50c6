use std::sync::Arc;
use std::time::Duration;

use aqueduct::{Event, Meta, Outcome, State};
use aqueduct_core::sync::lock;
use aqueduct_history::{HistoryLine, Op, Phase, Text};

use crate::fates::Fate;
use crate::processes::Life;

/// Does what the fate of the event says, and writes that into the history.
pub(crate) async fn handle(event: Event, meta: Meta, State(life): State<Arc<Life>>) -> Outcome {
    let shop = &life.shop;
    let id = event.id().to_string();
    let fate = shop.fates.of(&id);
    let mut run = Run::begin(&life, &id, &meta);
    let lasts = shop.main.jitter(Duration::from_millis(800));
    life.runtime.sleep(lasts).await;
    match fate {
        Fate::Kills => {
            let (victim, by) = (life.clone(), id.clone());
            // From outside of the process: it cannot end the task that it runs in.
            shop.main
                .spawn(async move { victim.kill(Some(&by)) })
                .detach();
            futures::future::pending::<()>().await;
        }
        Fate::Hangs if shop.first_time(&id) => {
            run.when_dropped = Phase::Fail;
            futures::future::pending::<()>().await;
        }
        Fate::Panics if shop.first_time(&id) => {
            run.when_dropped = Phase::Fail;
            drop(run);
            std::panic::resume_unwind(Box::new("the handler panics"));
        }
        Fate::Sick => {
            run.end(Phase::Fail, None);
            return Outcome::retry();
        }
        Fate::Fails(times) if meta.attempt <= times => {
            run.end(Phase::Fail, None);
            return Outcome::retry();
        }
        Fate::Refused => {
            run.end(Phase::Fail, Some("rejected"));
            return Outcome::reject("refused");
        }
        _ => {}
    }
    let process = life.name.as_str();
    shop.add(shop.line(process, Op::Effect, Phase::Ok).event(id.as_str()));
    run.end(Phase::Ok, None);
    lock(&shop.handled).insert(id);
    Outcome::Ack
}

/// A run of the handler; one that is dropped was cancelled, unless its process is dead.
struct Run<'a> {
    life: &'a Life,
    line: HistoryLine,
    when_dropped: Phase,
    ended: bool,
}

impl<'a> Run<'a> {
    fn begin(life: &'a Life, id: &str, meta: &Meta) -> Self {
        let line = life.shop.line(&life.name, Op::Handle, Phase::Invoke);
        let partition = meta.partition.as_ref().map_or("", |it| it.as_str());
        let line = line.event(id).partition(partition);
        let line = line.generation(meta.generation);
        life.shop.add(line.clone().attempt(meta.attempt));
        Self {
            life,
            line,
            when_dropped: Phase::Unknown,
            ended: false,
        }
    }

    fn end(&mut self, phase: Phase, why: Option<&str>) {
        self.ended = true;
        let mut line = self.line.clone();
        line.time = self.life.shop.now();
        line.phase = phase;
        line.why = why.map(Text::from);
        self.life.shop.add(line);
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if !self.ended && !self.life.is_dead() {
            self.end(self.when_dropped, None);
        }
    }
}
