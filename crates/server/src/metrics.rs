//! Counters and histograms of requests, and `/metrics` in the text form of Prometheus.
//!
//! Names and labels are upstream's, so that existing dashboards work. A request finds its series
//! by the addresses of its rows of the table; only the first request of a series takes the write
//! lock.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use registry::ResourceRef;

/// Upper bounds of the buckets of durations, in milliseconds.
const BUCKETS_MS: [u32; 23] = [
    5, 25, 50, 100, 200, 400, 600, 800, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000,
    8_000, 10_000, 15_000, 20_000, 30_000, 45_000, 60_000,
];

/// HTTP codes that are answered; any other is counted as the last one.
const CODES: [u16; 20] = [
    200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 503, 504,
    500,
];

/// What a request was, as its labels say it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    /// `GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH`, `APPLY`, `DELETE`, `DELETECOLLECTION`.
    pub(crate) verb: &'static str,
    /// The row of the resource table; `None` for other paths.
    pub(crate) resource: Option<ResourceRef>,
    /// Name of the subresource, if the request is for one.
    pub(crate) subresource: Option<&'static str>,
    /// `cluster`, `namespace` or `resource`; empty for other paths.
    pub(crate) scope: &'static str,
    /// Nothing was to be stored.
    pub(crate) dry_run: bool,
}

impl Labels {
    fn text(&self) -> String {
        let (group, version, resource) = self.resource.as_ref().map_or(("", "", ""), |row| {
            (&*row.group, &*row.version, &*row.plural)
        });
        let dry_run = if self.dry_run { "All" } else { "" };
        let (scope, verb) = (self.scope, self.verb);
        let subresource = self.subresource.unwrap_or_default();
        format!(
            r#"component="apiserver",dry_run="{dry_run}",group="{group}",resource="{resource}",scope="{scope}",subresource="{subresource}",verb="{verb}",version="{version}""#
        )
    }
}

struct Series {
    labels: Labels,
    codes: [AtomicU64; CODES.len()],
    buckets: [AtomicU64; BUCKETS_MS.len()],
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

/// The figures of a server.
pub(crate) struct Metrics {
    started: Timestamp,
    series: RwLock<HashMap<Labels, Arc<Series>>>,
    watches: Arc<AtomicI64>,
}

/// Counts a watch for as long as it lives.
pub(crate) struct Watching(Arc<AtomicI64>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self {
            started,
            series: RwLock::default(),
            watches: Arc::default(),
        }
    }

    /// Counts a watch until the answer is dropped.
    pub(crate) fn watching(&self) -> Watching {
        self.watches.fetch_add(1, Ordering::Relaxed);
        Watching(self.watches.clone())
    }

    /// Counts a request that was answered with `code` after `took`.
    pub(crate) fn count(&self, labels: &Labels, code: u16, took: Duration) {
        let series = self.series_of(labels);
        let at = CODES
            .iter()
            .position(|&known| known == code)
            .unwrap_or(CODES.len() - 1);
        series.codes[at].fetch_add(1, Ordering::Relaxed);
        if let Some(at) = BUCKETS_MS
            .iter()
            .position(|&bound| took <= Duration::from_millis(u64::from(bound)))
        {
            series.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        series.count.fetch_add(1, Ordering::Relaxed);
        series.nanoseconds.fetch_add(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn series_of(&self, labels: &Labels) -> Arc<Series> {
        if let Some(series) = self
            .series
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(labels)
        {
            return series.clone();
        }
        let fresh = || {
            Arc::new(Series {
                labels: labels.clone(),
                codes: Default::default(),
                buckets: Default::default(),
                count: AtomicU64::new(0),
                nanoseconds: AtomicU64::new(0),
            })
        };
        self.series
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(labels.clone())
            .or_insert_with(fresh)
            .clone()
    }

    /// Everything, as text. `in_flight` is how many requests are being worked on.
    pub(crate) fn render(&self, in_flight: usize) -> String {
        let mut out = String::with_capacity(64 * 1024);
        let mut series: Vec<(String, Arc<Series>)> = {
            let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
            series
                .values()
                .map(|series| (series.labels.text(), series.clone()))
                .collect()
        };
        series.sort_by(|one, other| one.0.cmp(&other.0));
        render_requests(&mut out, &series);
        render_durations(&mut out, &series);
        let watches = self.watches.load(Ordering::Relaxed);
        gauge(
            &mut out,
            "apiserver_current_inflight_requests",
            "Requests that are being worked on.",
            in_flight,
        );
        gauge(
            &mut out,
            "apiserver_longrunning_requests",
            "Watches and other long-running requests.",
            watches,
        );
        render_process(&mut out, self.started);
        out
    }
}

fn gauge(out: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    push(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"),
    );
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing into text cannot fail");
}

fn render_requests(out: &mut String, series: &[(String, Arc<Series>)]) {
    out.push_str("# HELP apiserver_request_total Requests by verb, resource and HTTP code.\n# TYPE apiserver_request_total counter\n");
    for (labels, series) in series {
        for (code, count) in CODES.iter().zip(&series.codes) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                push(
                    out,
                    format_args!("apiserver_request_total{{code=\"{code}\",{labels}}} {count}\n"),
                );
            }
        }
    }
}

fn render_durations(out: &mut String, series: &[(String, Arc<Series>)]) {
    let name = "apiserver_request_duration_seconds";
    push(
        out,
        format_args!("# HELP {name} How long requests took.\n# TYPE {name} histogram\n"),
    );
    for (labels, series) in series {
        let mut below = 0;
        for (bound, count) in BUCKETS_MS.iter().zip(&series.buckets) {
            below += count.load(Ordering::Relaxed);
            let bound = f64::from(*bound) / 1000.0;
            push(
                out,
                format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {below}\n"),
            );
        }
        let count = series.count.load(Ordering::Relaxed);
        let sum = Duration::from_nanos(series.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        push(
            out,
            format_args!(
                "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}\n"
            ),
        );
    }
}

/// Figures of this process, where the system tells them.
fn render_process(out: &mut String, started: Timestamp) {
    gauge(
        out,
        "process_start_time_seconds",
        "When the server was built, as a Unix time.",
        started.as_second(),
    );
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm
        .split(' ')
        .map(|pages| pages.trim().parse::<u64>().ok());
    // Pages of 4 KiB: the kernels of all platforms that have /proc and matter here use them.
    if let (Some(Some(size)), Some(Some(resident))) = (pages.next(), pages.next()) {
        gauge(
            out,
            "process_virtual_memory_bytes",
            "Virtual memory.",
            size * 4096,
        );
        gauge(
            out,
            "process_resident_memory_bytes",
            "Resident memory.",
            resident * 4096,
        );
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        gauge(out, "process_open_fds", "Open files.", files.count());
    }
    if let Some(seconds) = cpu_seconds() {
        let name = "process_cpu_seconds_total";
        push(
            out,
            format_args!(
                "# HELP {name} Processor time used.\n# TYPE {name} counter\n{name} {seconds}\n"
            ),
        );
    }
}

/// User and system time, in the hundredths of a second that Linux counts.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields
        .split(' ')
        .skip(11)
        .map(|ticks| ticks.parse::<u32>().ok());
    Some(f64::from(fields.next()?? + fields.next()??) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn requests_are_counted_under_their_labels() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let labels = Labels {
            verb: "LIST",
            resource: Some((&testing::RESOURCES[0]).into()),
            subresource: None,
            scope: "namespace",
            dry_run: false,
        };
        metrics.count(&labels, 200, Duration::from_millis(30));
        metrics.count(&labels, 200, Duration::from_secs(90));
        metrics.count(&labels, 404, Duration::from_millis(1));
        let text = metrics.render(3);
        let labels = r#"component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="LIST",version="v1""#;
        for expected in [
            format!("apiserver_request_total{{code=\"200\",{labels}}} 2\n"),
            format!("apiserver_request_total{{code=\"404\",{labels}}} 1\n"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 1\n"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"60\"}} 2\n"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3\n"),
            "apiserver_current_inflight_requests 3\n".to_owned(),
            "process_start_time_seconds 0\n".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected} is missing in {text}");
        }
    }

    #[test]
    fn a_watch_is_counted_while_it_lives() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let watching = metrics.watching();
        assert!(
            metrics
                .render(0)
                .contains("apiserver_longrunning_requests 1\n")
        );
        drop(watching);
        assert!(
            metrics
                .render(0)
                .contains("apiserver_longrunning_requests 0\n")
        );
    }
}
