//! `exeunt drain` for somebody at a terminal: the live table, the question before something is
//! lost, and Ctrl-C. The terminal is a pseudo-terminal of this process; everything that the command
//! writes is read as it comes, and nothing is waited for but words that must appear.

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

/// A pod that nobody makes again.
const BARE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {containers: [{name: c, image: i}]}
"#;

/// What the terminal sends when somebody presses the keys for an interrupt.
const CTRL_C: &[u8] = b"\x03";

/// The command at a terminal.
struct Session {
    child: Child,
    pty: Arc<Pty>,
    /// Pieces of what is written, until the command has ended.
    pieces: Receiver<Vec<u8>>,
    written: String,
}

impl Session {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(24, 100)).expect("a window");
        let mut command = exeunt();
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
            // On Linux the end of the other side is an error and no end of file.
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

    /// Waits until these words have been written.
    fn shows(&mut self, words: &str) {
        self.until(words, |written| written.contains(words));
    }

    /// Waits until what has been written passes.
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

    /// Waits for the end; gives the exit code and everything that was written.
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
            "it never ends:\n{}",
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

/// A server with one node and these objects, once the pod is ready.
fn server_with(folder: &tempfile::TempDir, objects: &str, pod: &str) -> Server {
    let server = Server::start(folder.path(), &["--nodes", "1"]);
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
fn the_table_shows_what_is_refused_and_ctrl_c_says_where_the_node_stands() {
    if !has("kubectl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = server_with(&folder, APPLICATION, "web-1");
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
    // Both are asked for at the same moment, and either may be the first.
    let heading = "node-1  2 pods: 1 gone, 1 refused\r\n  default/web-";
    let lines = ["0", "1"].map(|number| format!("{heading}{number}  refused by default/web for "));
    session.until("which one is refused", |written| {
        lines.iter().any(|line| written.contains(line))
    });
    // It is drawn again over itself, and the time goes on.
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
        "the table shows it: {}",
        session.written
    );
    session.press(CTRL_C);
    let (code, written) = session.end();
    assert_eq!(code, Some(1), "{written}");
    let (_, last) = written
        .rsplit_once("\u{1b}[J")
        .expect("the table is taken away at the end");
    let last = last.replace('\r', "");
    assert!(
        last.starts_with("node/node-1 is cordoned: 2 pods: 1 gone, 1 refused\n"),
        "{last:?}"
    );
    assert!(
        last.contains("error: interrupted: accepted evictions continue, no others are requested\n"),
        "{last:?}"
    );
    assert!(
        last.contains(
            "hint: run the same command to continue, or exeunt uncordon node-1 to undo the cordon\n"
        ),
        "{last:?}"
    );
    assert!(!last.contains("\u{1b}[3"), "NO_COLOR is set: {last:?}");
    assert!(is_cordoned(&server), "as it was told");

    // The same command goes on: nothing holds the second pod any more.
    server.run(&["delete", "pdb", "web"]);
    let (code, written) = Session::start(&server, &["drain", "node-1"]).end();
    assert!(
        code == Some(0) && written.contains("node/node-1 drained"),
        "{written}"
    );
}

#[test]
fn a_question_comes_before_something_is_lost_and_only_yes_is_yes() {
    if !has("kubectl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = server_with(&folder, BARE, "bare");
    for answer in ["n\n", "\n", "yellow\n", "\x04"] {
        let mut session = Session::start(&server, &["drain", "node-1", "--force"]);
        session.shows("This cannot be undone:");
        session.shows("these pods have no controller that replaces them: default/bare");
        session.shows("Go on? [y/N] ");
        session.press(answer.as_bytes());
        let (code, written) = session.end();
        assert_eq!(code, Some(1), "{answer:?}: {written}");
        assert!(
            written.contains("error: nothing was done")
                && written.contains("hint: --yes asks no questions"),
            "{written}"
        );
        assert!(!is_cordoned(&server), "{answer:?}");
    }
    let mut session = Session::start(&server, &["drain", "node-1", "--force"]);
    session.shows("Go on? [y/N] ");
    session.press(CTRL_C);
    let (code, written) = session.end();
    assert_ne!(code, Some(0), "{written}");
    assert!(!is_cordoned(&server), "nothing was done before the answer");

    let mut session = Session::start(&server, &["drain", "node-1", "--force"]);
    session.shows("Go on? [y/N] ");
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
fn no_question_is_asked_when_the_answer_was_given_or_nothing_is_lost() {
    if !has("kubectl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = server_with(&folder, BARE, "bare");
    let (code, written) =
        Session::start(&server, &["drain", "node-1", "--force", "--dry-run"]).end();
    assert!(code == Some(0) && !written.contains("Go on?"), "{written}");
    let (code, written) = Session::start(&server, &["drain", "node-1", "--force", "--yes"]).end();
    assert!(
        code == Some(0) && !written.contains("Go on?") && written.contains("pod/bare evicted"),
        "{written}"
    );
    let (code, written) = Session::start(&server, &["drain", "node-1", "--force"]).end();
    assert!(
        code == Some(0) && !written.contains("Go on?"),
        "there is nothing to lose any more: {written}"
    );
}
