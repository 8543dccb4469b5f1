//! The checks by id, and what each is given.

mod answers;
mod board;
mod broken_disk;
mod damage;
mod disk;
mod kills;
mod lines;
mod outage;
mod overload;
mod power;
mod reload;
mod stops;
mod sums;

use crate::bridge::Setup;
use std::path::PathBuf;
use std::pin::Pin;

/// What a check is given.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) program: PathBuf,
    /// A directory that is removed afterwards.
    pub(crate) scratch: PathBuf,
    pub(crate) seed: u64,
    pub(crate) quick: bool,
    pub(crate) runs: Option<u64>,
}

impl Context {
    /// How often to repeat: what was asked for, or this many, quick or not.
    pub(crate) fn runs(&self, quick: u64, usual: u64) -> u64 {
        self.runs.unwrap_or(if self.quick { quick } else { usual })
    }

    /// One of two, quick or not.
    pub(crate) fn of<T>(&self, quick: T, usual: T) -> T {
        if self.quick { quick } else { usual }
    }

    pub(crate) fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup::new(&self.program, &self.scratch)
    }
}

/// How a check ended; an error says what went wrong.
pub(crate) enum Outcome {
    /// The numbers.
    Passed(String),
    /// What is missing on this machine.
    Skipped(String),
}

pub(crate) type Ran = Result<Outcome, String>;

/// One check.
pub(crate) struct Check {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(Context) -> Pin<Box<dyn Future<Output = Ran>>>,
}

macro_rules! checks {
    ($($id:literal, $what:literal, $run:path;)*) => {
        /// All of them, in the order in which `all` runs them.
        pub(crate) const CHECKS: &[Check] =
            &[$(Check { id: $id, what: $what, run: |context| Box::pin($run(context)) }),*];
    };
}

checks! {
    "B2", "kill -9 at any time", kills::kill;
    "B3", "power cuts", power::cut;
    "B4", "a damaged data directory", damage::run;
    "B5", "a disk that fails", broken_disk::errors;
    "B6", "a full disk", disk::full;
    "B7", "two processes and one data directory", stops::two;
    "C1", "destinations that say later", answers::later;
    "C2", "destinations that say no", answers::never;
    "C3", "destinations for which it is too large", answers::too_large;
    "C4", "destinations that reject a part", answers::partly;
    "C5", "answers that come too late", answers::too_late;
    "C6", "a line that is half open", lines::half_open;
    "C7", "answers that drip, explode, break off", answers::broken;
    "C8", "certificates that prove nothing", lines::tls;
    "C9", "names that nobody knows", lines::names;
    "C10", "one of three destinations is dead", outage::one_dead;
    "C11", "one of three destinations is dead for a day", outage::day;
    "D1", "ten times too much in 256 MiB", overload::overload;
    "D3", "no file descriptors", overload::descriptors;
    "E1", "clocks that jump", clock;
    "E3", "deltas while bridge and source are killed", sums::deltas;
    "E5", "reloads under load", reload::reload;
    "E6", "SIGTERM with a backlog and a destination that is dead", stops::terminate;
    "E7", "a start with much queued", stops::restart;
}

/// E1: the tests of the parts have a clock of their own; from outside nothing but the clock of the machine can jump.
async fn clock(_: Context) -> Ran {
    let why = "no way to set the wall clock of one process alone without code in it; the tests of the parts set theirs";
    Ok(Outcome::Skipped(why.to_owned()))
}
