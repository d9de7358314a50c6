use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::{Client, Environment, WorkerHandle};
use aqueduct_core::sync::lock;
use aqueduct_core::{Result, Runtime};
use aqueduct_history::{Op, Phase};
use aqueduct_runtime::{Process, Simulation};

use crate::handler::handle;
use crate::shop::Shop;

/// The members of the group in each process.
const MEMBERS: usize = 2;

/// One process from its start to its end.
pub(crate) struct Life {
    pub(crate) shop: Arc<Shop>,
    pub(crate) name: String,
    pub(crate) runtime: Runtime,
    process: Process,
    dead: AtomicBool,
    /// It has ended by itself.
    ended: AtomicBool,
    controls: Mutex<Vec<WorkerHandle>>,
}

impl Life {
    pub(crate) fn begin(shop: &Arc<Shop>, simulation: &Simulation, number: usize) -> Arc<Self> {
        let process = simulation.process();
        let life = Arc::new(Self {
            shop: shop.clone(),
            name: format!("m{number}"),
            runtime: process.runtime(),
            process,
            dead: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            controls: Mutex::default(),
        });
        let runs = life.clone();
        let task = async move {
            // A process that cannot begin or go on ends, and is started again.
            let outcome = runs.clone().work().await;
            runs.ended.store(true, Ordering::SeqCst);
            let phase = match outcome {
                Ok(()) => Phase::Ok,
                Err(_) => Phase::Fail,
            };
            let shop = &runs.shop;
            shop.add(shop.line(&runs.name, Op::Close, phase));
        };
        life.runtime.spawn(task).detach();
        life
    }

    async fn work(self: Arc<Self>) -> Result<()> {
        let client = Client::builder()
            .toml(self.shop.configuration())
            .environment(Environment::empty())
            .backend("memory", self.shop.backend.clone())
            .runtime(self.runtime.clone())
            .build()
            .await?;
        let mut running = Vec::new();
        for _ in 0..MEMBERS {
            let worker = client.worker("billing").await?;
            let worker = worker.state(self.clone()).on("*", handle);
            lock(&self.controls).push(worker.control());
            running.push(self.runtime.spawn(worker.run_to_end()));
        }
        let mut outcome = Ok(());
        for worker in running {
            let ended = worker.await.unwrap_or(Ok(()));
            if ended.is_err() && outcome.is_ok() {
                // The other member must not outlive it.
                self.stop_members();
                outcome = ended;
            }
        }
        outcome
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.is_dead() && !self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Ends it as SIGKILL does: by the handler of that event, or from outside.
    pub(crate) fn kill(&self, by: Option<&str>) {
        if !self.is_alive() || self.dead.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut line = self.shop.line(&self.name, Op::Kill, Phase::Ok);
        line.event = by.map(Into::into);
        self.shop.add(line);
        self.process.kill();
    }

    pub(crate) async fn stand_still(&self, lasts: Duration) {
        self.process.stall(true);
        self.shop.main.sleep(lasts).await;
        self.process.stall(false);
    }

    /// Stops it in good order, as a deployment does, and waits until it has ended.
    pub(crate) async fn stop(&self) {
        if !self.is_alive() {
            return;
        }
        let line = self.shop.line(&self.name, Op::Close, Phase::Invoke);
        self.shop.add(line);
        self.stop_members();
        while self.is_alive() {
            self.shop.main.sleep(Duration::from_millis(100)).await;
        }
    }

    fn stop_members(&self) {
        for control in lock(&self.controls).iter() {
            control.stop();
        }
    }
}
