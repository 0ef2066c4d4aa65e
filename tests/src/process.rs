//! Child processes that never outlive their owner.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program; killed when dropped, and by the kernel when this process dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        // SAFETY: prctl is async-signal-safe and touches nothing that the parent's threads could hold.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        // A Ctrl-C at the terminal is for the owner, which then ends its children in order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
        Ok(Self { child, name })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(self.child.id().cast_signed());
        kill(id, signal).with_context(|| format!("cannot send {signal} to `{}`", self.name))
    }

    /// Waits until it has printed a line; its standard output must be a pipe.
    ///
    /// # Errors
    /// If it ends before.
    pub fn wait_for_line(&mut self) -> Result<()> {
        let output =
            self.child.stdout.as_mut().with_context(|| format!("`{}` prints elsewhere", self.name))?;
        let mut byte = [0];
        while byte != *b"\n" {
            output.read_exact(&mut byte).with_context(|| format!("`{}` ended", self.name))?;
        }
        Ok(())
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within `at_most`.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                bail!("`{}` did not end within {at_most:?}", self.name);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either it has ended already, or this ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many times longer than it should take something may take: machines that do much else at once stand still for seconds.
const PATIENCE: u32 = 8;

/// Waits until `holds` says so, which should take `at_most`.
///
/// # Errors
/// If it takes [`PATIENCE`] times as long; the message names `what`.
pub fn wait_until(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) -> Result<Duration> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > at_most * PATIENCE {
            bail!("{what}: not within {:?}", at_most * PATIENCE);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(started.elapsed())
}
