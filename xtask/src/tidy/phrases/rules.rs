//! The table of phrases.

/// Where a phrase is a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PhraseScope {
    /// Wherever it stands.
    Anywhere,
    /// At the beginning of a sentence that is not a question.
    Sentence,
    /// At the beginning of a comment, a string or a paragraph. Names of functions may begin so.
    Passage,
}

/// A phrase and what to write instead of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhraseRule {
    pub(super) phrase: &'static str,
    pub(super) scope: PhraseScope,
    /// What to write instead, as the end of "write … instead".
    pub(super) instead: &'static str,
    /// Words that, right behind the phrase, make it right English.
    pub(super) unless_before: &'static [&'static str],
    /// A word that, right before the phrase, makes it right English.
    pub(super) unless_after: Option<&'static str>,
}

const fn anywhere(phrase: &'static str, instead: &'static str) -> PhraseRule {
    PhraseRule {
        phrase,
        scope: PhraseScope::Anywhere,
        instead,
        unless_before: &[],
        unless_after: None,
    }
}

const fn unless(
    phrase: &'static str,
    unless_before: &'static [&'static str],
    instead: &'static str,
) -> PhraseRule {
    PhraseRule {
        unless_before,
        ..anywhere(phrase, instead)
    }
}

/// `there is none` is English; `the name is none` is not.
const fn unless_there(phrase: &'static str) -> PhraseRule {
    PhraseRule {
        unless_after: Some("there"),
        ..unless(phrase, &["of"], INVALID)
    }
}

const fn sentence(phrase: &'static str, instead: &'static str) -> PhraseRule {
    PhraseRule {
        scope: PhraseScope::Sentence,
        ..anywhere(phrase, instead)
    }
}

const fn passage(phrase: &'static str, instead: &'static str) -> PhraseRule {
    PhraseRule {
        scope: PhraseScope::Passage,
        ..anywhere(phrase, instead)
    }
}

const REPORT: &str = "report, emit, log, print, return or distinguish";
const CHARACTERS: &str = "characters";
const NUMBER: &str = "number, count or measurement";
const DIRECTORY: &str = "directory";
const NOT_FOUND: &str = "`not found`, `missing` or `does not exist`";
const INVALID: &str = "`empty`, `None`, or `invalid: expected X, got Y`,";
const SUBJECT: &str = "the subject (`Clients that …`, `A caller that …`)";
const OWN_WORDS: &str = "what the item guarantees, in its own words,";

/// All phrases. A new one comes with the plain words for it.
pub(super) const RULES: &[PhraseRule] = &[
    // Headless clauses.
    sentence("Who", SUBJECT),
    sentence("Whoever", SUBJECT),
    sentence("Whose", SUBJECT),
    anywhere("so that who", SUBJECT),
    anywhere("to who", SUBJECT),
    anywhere("for who", SUBJECT),
    anywhere("by who", SUBJECT),
    unless(
        "what came",
        &["of", "after", "before"],
        "the name of the input (`event`, `body`)",
    ),
    anywhere("what came of", "the result of"),
    // Talk instead of terms.
    anywhere("tell", REPORT),
    anywhere("tells", REPORT),
    anywhere("told", REPORT),
    anywhere("telling", REPORT),
    anywhere("show itself", "`appear` or `be returned`"),
    anywhere("shows itself", "`appears` or `is returned`"),
    anywhere("shown itself", "`returned`"),
    anywhere("farewell", "the name of the step"),
    anywhere("truth value", "boolean"),
    anywhere("truth values", "booleans"),
    anywhere("letter", CHARACTERS),
    anywhere("letters", CHARACTERS),
    unless("figure", &["out"], NUMBER),
    anywhere("figures", NUMBER),
    anywhere("folder", DIRECTORY),
    anywhere("folders", DIRECTORY),
    anywhere("anew", "again"),
    anywhere("for ever", "forever, indefinitely or until it is cancelled"),
    anywhere("by and by", "gradually"),
    // Denials that leave the expectation out.
    anywhere("is not there", NOT_FOUND),
    anywhere("are not there", NOT_FOUND),
    anywhere("was not there", NOT_FOUND),
    unless_there("is none"),
    unless_there("are none"),
    anywhere("is not one", INVALID),
    anywhere("are not ones", INVALID),
    anywhere("is no number", INVALID),
    anywhere("is no duration", INVALID),
    anywhere("is not understood", "`cannot parse X: …`"),
    // Comments that say nothing.
    anywhere("see the module", OWN_WORDS),
    anywhere("see there", OWN_WORDS),
    anywhere("answers it", OWN_WORDS),
    passage("the same", OWN_WORDS),
    passage("as above", OWN_WORDS),
];
