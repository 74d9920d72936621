//! `exeunt drain` on a terminal: the live table, the confirmation before pods are lost, and Ctrl-C.
//! The terminal is a pseudo-terminal of this process. The tests read all output of the command as
//! it arrives, and wait only for output that must appear.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::drain::APPLICATION;
use crate::support::{PATIENCE, Server, exeunt, has};

/// A pod without a controller.
const BARE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {containers: [{name: c, image: i}]}
"#;

/// The byte that a terminal sends for Ctrl-C.
const CTRL_C: &[u8] = b"\x03";

/// A command that runs on a pseudo-terminal. Dropping the session kills the command.
struct Session {
    child: Child,
    pty: Arc<Pty>,
    /// Output as it arrives; the channel disconnects when the command ends.
    pieces: Receiver<Vec<u8>>,
    written: String,
}

impl Session {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        Self::spawn(server, exeunt(), arguments)
    }

    /// Starts the command with SIGINT ignored, as background jobs of scripts start: processes
    /// inherit ignored signals.
    fn start_with_sigint_ignored(server: &Server, arguments: &[&str]) -> Self {
        let program = exeunt();
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "trap '' INT; exec \"$0\" \"$@\""])
            .arg(program.get_program());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Self::spawn(server, shell, arguments)
    }

    fn spawn(server: &Server, mut command: std::process::Command, arguments: &[&str]) -> Self {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(24, 100)).expect("a window");
        command
            .args(arguments)
            .env("KUBECONFIG", &server.kubeconfig)
            .env("TERM", "xterm");
        let child = Command::from(command)
            .spawn(pts)
            .expect("the binary starts");
        let (pty, (sender, pieces)) = (Arc::new(pty), mpsc::channel());
        let reader = Arc::clone(&pty);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // On Linux, reading fails when the command has closed the terminal.
            while let Ok(length @ 1..) = (&*reader).read(&mut piece) {
                drop(sender.send(piece[..length].to_vec()));
            }
        });
        Self {
            child,
            pty,
            pieces,
            written: String::new(),
        }
    }

    fn press(&self, keys: &[u8]) {
        (&*self.pty)
            .write_all(keys)
            .expect("the terminal takes keys");
    }

    /// Waits until the output contains this string.
    fn shows(&mut self, words: &str) {
        self.until(words, |written| written.contains(words));
    }

    /// Waits until `passes` returns true for the output so far; `what` names the condition in the
    /// failure message.
    fn until(&mut self, what: &str, passes: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !passes(&self.written) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.written.push_str(&String::from_utf8_lossy(&piece)),
                Err(why) => panic!("{what:?} was never shown ({why}):\n{}", self.written),
            }
        }
    }

    /// Waits until the command ends. Returns the exit code and the whole output.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(piece) = self
            .pieces
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.written.push_str(&String::from_utf8_lossy(&piece));
        }
        assert!(
            Instant::now() < deadline,
            "the command does not end:\n{}",
            self.written
        );
        let code = self.child.wait().expect("it has ended").code();
        (code, std::mem::take(&mut self.written))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a server with one node and these objects, and waits until the pod runs.
fn server_with(directory: &tempfile::TempDir, objects: &str, pod: &str) -> Server {
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    server.until(&["get", "serviceaccount", "default"], |_| true);
    server.feed(&["apply", "-f", "-"], objects);
    server.until(
        &["get", "pod", pod, "-o", "jsonpath={.status.phase}"],
        |phase| phase == "Running",
    );
    server
}

fn is_cordoned(server: &Server) -> bool {
    server.run(&[
        "get",
        "node",
        "node-1",
        "-o",
        "jsonpath={.spec.unschedulable}",
    ]) == "true"
}

#[test]
fn the_table_shows_refusals_and_ctrl_c_reports_the_state_of_the_node() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = server_with(&directory, APPLICATION, "web-1");
    server.until(
        &[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.currentHealthy}",
        ],
        |text| text == "2",
    );

    let mut session = Session::start(&server, &["drain", "node-1"]);
    session.shows("node/node-1 cordoned");
    // Both evictions are requested at the same time, and either may be granted.
    let heading = "node-1  2 pods: 1 gone, 1 refused\r\n  default/web-";
    let lines = ["0", "1"].map(|number| format!("{heading}{number}  refused by default/web for "));
    session.until("which one is refused", |written| {
        lines.iter().any(|line| written.contains(line))
    });
    // The table is redrawn in place, with increasing times.
    session.shows("\u{1b}[J");
    session.until("another time", |written| {
        let times = lines
            .iter()
            .flat_map(|line| written.split(line).skip(1))
            .filter_map(|rest| rest.split(' ').next());
        times.collect::<BTreeSet<_>>().len() > 1
    });
    assert!(
        !session.written.contains("error when evicting"),
        "the table shows refusals: {}",
        session.written
    );
    session.press(CTRL_C);
    let (code, written) = session.end();
    assert_eq!(code, Some(1), "{written}");
    let (_, last) = written
        .rsplit_once("\u{1b}[J")
        .expect("the table is erased at the end");
    let last = last.replace('\r', "");
    assert!(
        last.starts_with("node/node-1 is cordoned: 2 pods: 1 gone, 1 refused\n"),
        "{last:?}"
    );
    assert!(
        last.contains(
            "error: interrupted: accepted evictions continue, and no others are requested\n"
        ),
        "{last:?}"
    );
    assert!(
        last.contains(
            "hint: continue with the same command, or undo with: exeunt uncordon node-1\n"
        ),
        "{last:?}"
    );
    assert!(!last.contains("\u{1b}[3"), "NO_COLOR is set: {last:?}");
    assert!(is_cordoned(&server), "the node stays cordoned");

    // A second drain continues: without the budget, nothing blocks the second pod.
    server.run(&["delete", "pdb", "web"]);
    let (code, written) = Session::start(&server, &["drain", "node-1"]).end();
    assert!(
        code == Some(0) && written.contains("node/node-1 drained"),
        "{written}"
    );
}

#[test]
fn a_drain_that_loses_pods_asks_first_and_only_yes_continues() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = server_with(&directory, BARE, "bare");
    for answer in ["n\n", "\n", "yellow\n", "\x04"] {
        let mut session = Session::start(&server, &["drain", "node-1", "--force"]);
        session.shows("This cannot be undone:");
        session.shows("these pods have no controller that replaces them: default/bare");
        session.shows("Continue? [y/N] ");
        session.press(answer.as_bytes());
        let (code, written) = session.end();
        assert_eq!(code, Some(1), "{answer:?}: {written}");
        assert!(
            written.contains("error: not confirmed: nothing was changed")
                && written.contains("hint: use --yes to skip this question"),
            "{written}"
        );
        assert!(!is_cordoned(&server), "{answer:?}");
    }
    let arguments = &["drain", "node-1", "--force"];
    for mut session in [
        Session::start(&server, arguments),
        Session::start_with_sigint_ignored(&server, arguments),
    ] {
        session.shows("Continue? [y/N] ");
        session.press(CTRL_C);
        let (code, written) = session.end();
        assert_eq!(code, Some(1), "{written}");
        assert!(
            written.contains("error: interrupted: nothing was changed"),
            "{written}"
        );
        assert!(!is_cordoned(&server), "nothing changes before the answer");
    }

    let mut session = Session::start(&server, &["drain", "node-1", "--force"]);
    session.shows("Continue? [y/N] ");
    session.press(b"y\n");
    let (code, written) = session.end();
    assert!(
        code == Some(0)
            && written.contains("pod/bare evicted")
            && written.contains("node/node-1 drained"),
        "{written}"
    );
}

#[test]
fn a_drain_does_not_ask_with_yes_or_when_nothing_is_lost() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = server_with(&directory, BARE, "bare");
    let (code, written) =
        Session::start(&server, &["drain", "node-1", "--force", "--dry-run"]).end();
    assert!(
        code == Some(0) && !written.contains("Continue?"),
        "{written}"
    );
    let (code, written) = Session::start(&server, &["drain", "node-1", "--force", "--yes"]).end();
    assert!(
        code == Some(0) && !written.contains("Continue?") && written.contains("pod/bare evicted"),
        "{written}"
    );
    let (code, written) = Session::start(&server, &["drain", "node-1", "--force"]).end();
    assert!(
        code == Some(0) && !written.contains("Continue?"),
        "nothing is left to lose: {written}"
    );
}
