//! Every cell: a scenario that a contestant goes through, in processes and a folder of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use plugmesh_benches::cell::{Cell, Metric, Missing, Sample};
use plugmesh_benches::journal::{self, now};
use plugmesh_benches::judgement::{Disturbance, judge};
use plugmesh_benches::process::{Cpus, Process};
use plugmesh_benches::{BoxError, usage};

use crate::client::{self, Report, WARM_UP, Way};
use crate::contestant::{Contestant, Kind};
use crate::control::{self, pause};
use crate::plain::Supervisor;
use crate::plan::{INSTANCES, Plan};
use crate::role::Role;
use crate::scenario::Scenario;
use crate::{mesh, plugin};

/// Statuses of lost calls that are told of each cell.
const TOLD: usize = 3;

/// Name of a cell: `<scenario>/<contestant>`.
pub(crate) fn name(scenario: Scenario, contestant: &str) -> String {
    format!("{}/{contestant}", scenario.as_str())
}

/// All cells, in the order in which they are printed.
pub(crate) fn all(plan: Plan) -> Vec<Cell> {
    let pairs = Scenario::ALL.into_iter().flat_map(|s| Contestant::ALL.map(|contestant| (s, contestant)));
    let cell = |(scenario, contestant): (Scenario, Contestant)| Cell {
        name: name(scenario, contestant.name),
        reference: Some(name(Scenario::Undisturbed, contestant.name)),
        run: Box::new(move |_| run(scenario, contestant, scenario.plan(plan)).map_err(Missing::Failed)),
    };
    pairs.map(cell).collect()
}

fn run(scenario: Scenario, contestant: Contestant, plan: Plan) -> Result<Sample, BoxError> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let instance = plugin::Spec { folder: folder.to_owned(), seed: plan.seed };
    let (_supervisor, way) = match contestant.kind {
        Kind::Mesh { manifest, host } => {
            let (manifest, host) = (manifest.to_owned(), host.to_owned());
            (None, Way::Mesh(mesh::Spec { folder: folder.to_owned(), seed: plan.seed, host, manifest }))
        }
        Kind::Plain => {
            let supervisor = Supervisor::start(instance)?;
            let addresses = supervisor.addresses.clone();
            (Some(supervisor), Way::Plain { addresses })
        }
    };
    let report = folder.join("report.json");
    let spec = client::Spec {
        way,
        runtime: contestant.runtime(),
        plan,
        slow_readers: scenario == Scenario::SlowReader,
        report: report.clone(),
    };
    let mut client = Process::role(&Role::Client(spec), Cpus::All, contestant.allocator())?;
    let began: u64 = client.line()?.parse()?;
    let bad = scenario.bad(folder)?;
    pause_until(began, plan.phases.warm_up);
    let busy = Busy::begin(client.pid(), folder)?;
    let from = now();
    scenario.disturb(folder, plan)?;
    let disturbance = Disturbance { from, until: now(), bad, instances: INSTANCES };
    let busy = busy.end(disturbance);
    client.line()?;
    let Report { outcome, losses } = serde_json::from_slice(&std::fs::read(report)?)?;
    tell(&name(scenario, contestant.name), losses);
    let mut journals = journal::read_all(folder)?;
    for (_, records) in &mut journals {
        records.retain(|record| record.id < WARM_UP);
    }
    let mut sample = judge(&outcome, &journals, disturbance)?;
    if scenario == Scenario::Undisturbed {
        sample.insert(Metric::Busy, busy);
    }
    Ok(sample)
}

/// Says what most calls were lost with.
fn tell(cell: &str, losses: BTreeMap<String, usize>) {
    let mut losses: Vec<_> = losses.into_iter().collect();
    losses.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    for (status, times) in losses.iter().take(TOLD) {
        eprintln!("\r\x1b[K{cell}: lost {times}: {status}");
    }
}

fn pause_until(began: u64, after: Duration) {
    let passed = Duration::from_nanos(now().saturating_sub(began));
    pause(after.saturating_sub(passed));
}

/// CPU time of client and instances.
struct Busy {
    pids: Vec<u32>,
    before: Duration,
}

impl Busy {
    fn begin(client: u32, folder: &Path) -> Result<Self, BoxError> {
        let mut pids = vec![client];
        for ordinal in 0..INSTANCES {
            pids.push(control::order(folder, ordinal, None)?);
        }
        let before = pids.iter().copied().map(usage::cpu).sum();
        Ok(Self { pids, before })
    }

    /// Share of all CPUs, while it lasted.
    fn end(self, lasted: Disturbance) -> f64 {
        let after: Duration = self.pids.into_iter().map(usage::cpu).sum();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let elapsed = Duration::from_nanos(lasted.until - lasted.from).as_secs_f64();
        after.saturating_sub(self.before).as_secs_f64() / elapsed / cpus
    }
}
