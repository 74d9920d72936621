//! `exeunt demo` as a new user runs it.

use crate::support::{exeunt, shown};

#[test]
fn the_demo_shows_six_steps_and_a_refusal() {
    let output = exeunt().arg("demo").output().expect("the binary starts");
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for step in [
        "1  requested",
        "2  granted",
        "2  refused",
        "3  stopping",
        "3  stopped",
        "4  unready",
        "4  replaced",
        "5  deleted",
        "6  recovered",
    ] {
        assert!(text.contains(step), "no {step:?} in:\n{text}");
    }
    assert!(
        text.contains("because: The disruption budget nginx-pdb"),
        "the refusal has its reason:\n{text}"
    );
    assert!(
        text.contains("exeunt serve --nodes 3"),
        "it ends with the commands to go on:\n{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colours when piped");
}
