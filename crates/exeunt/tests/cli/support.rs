//! A server in its own process, and the clients that the tests run against it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kube::{Client, Config};

/// The limit of every wait. It is far above what is needed, so that a busy machine passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn exeunt() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exeunt"));
    command
        .env_remove("EXEUNT_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// A running `exeunt serve`. Dropping it kills the process.
pub(crate) struct Server {
    process: Child,
    /// The URL of the API, from the line that announces readiness.
    pub(crate) url: String,
    /// The path of the kubeconfig, from the same line.
    pub(crate) kubeconfig: PathBuf,
    kubectl: PathBuf,
}

impl Server {
    /// Starts a server on a free port with further arguments, and waits until it is ready.
    pub(crate) fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::spawn(exeunt(), data_dir, arguments)
    }

    /// Starts a server with this umask, an octal number.
    pub(crate) fn start_with_umask(umask: &str, data_dir: &Path, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
            .arg(exeunt().get_program())
            .env_remove("EXEUNT_LOG")
            .stdin(Stdio::null());
        Self::spawn(shell, data_dir, arguments)
    }

    fn spawn(mut command: Command, data_dir: &Path, arguments: &[&str]) -> Self {
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let stdout = process.stdout.take().expect("a pipe");
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut first = String::new();
            drop(reader.read_line(&mut first).map(|_| sender.send(first)));
            // A full pipe would block the server.
            drop(reader.read_to_end(&mut Vec::new()));
        });
        let line = line.recv_timeout(PATIENCE).expect("a ready line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let url = words
            .iter()
            .find(|word| word.starts_with("https://"))
            .unwrap_or_else(|| panic!("no URL in {line:?}"));
        let kubeconfig = words.last().expect("a path");
        Self {
            process,
            url: (*url).to_owned(),
            kubeconfig: PathBuf::from(kubeconfig),
            kubectl: PathBuf::from("kubectl"),
        }
    }

    /// Uses another kubectl than the one on the PATH.
    pub(crate) fn using(mut self, kubectl: PathBuf) -> Self {
        self.kubectl = kubectl;
        self
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns whether the process runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends SIGKILL: the server cannot write anything more.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ends");
    }

    /// Sends SIGTERM; returns the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let status = Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .expect("kill runs");
        assert!(status.success());
        self.process.wait().expect("the process ends").code()
    }

    /// Returns a new client.
    pub(crate) async fn client(&self) -> Client {
        let file = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let mut config =
            Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .expect("a config");
        // By default it repeats refused evictions for minutes.
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// Returns a kubectl command with this server's kubeconfig and its own cache.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().expect("a directory"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs kubectl, which must succeed; returns its standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).output().expect("kubectl runs");
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            shown(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs kubectl, which must fail; returns its standard error.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).output().expect("kubectl runs");
        assert!(
            !output.status.success(),
            "kubectl {arguments:?} must fail: {}",
            shown(&output)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs kubectl with this text on its standard input; it must succeed.
    pub(crate) fn feed(&self, arguments: &[&str], text: &str) -> String {
        let output = self.fed(arguments, text);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            shown(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs kubectl with this text on its standard input; it must fail. Returns its standard error.
    pub(crate) fn refused_with(&self, arguments: &[&str], text: &str) -> String {
        let output = self.fed(arguments, text);
        assert!(
            !output.status.success(),
            "kubectl {arguments:?} must fail: {}",
            shown(&output)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs kubectl with this text on its standard input; returns its output whether it fails or
    /// not.
    pub(crate) fn fed(&self, arguments: &[&str], text: &str) -> Output {
        let mut child = self
            .kubectl(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), text.as_bytes())
            .expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Repeats kubectl until its output passes; returns that output.
    pub(crate) fn until(&self, arguments: &[&str], passes: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.kubectl(arguments).output().expect("kubectl runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && passes(&text) {
                return text;
            }
            assert!(
                Instant::now() < deadline,
                "the output of kubectl {arguments:?} does not pass: {}",
                shown(&output)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Formats the exit code and both streams for messages.
pub(crate) fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// Returns whether the tool is installed. If not, prints that the test is skipped, or fails if
/// `EXEUNT_REQUIRE_TOOLS` is 1.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--help")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var("EXEUNT_REQUIRE_TOOLS").as_deref() != Ok("1"),
            "{tool} is required here and is not installed"
        );
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}
