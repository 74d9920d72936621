//! The metrics of a server, and `/metrics` in the text format of Prometheus, version 0.0.4.
//!
//! Names and labels of requests are upstream's, so existing dashboards work. Requests count as they
//! are answered; everything else is read when `/metrics` is.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use registry::ResourceRef;

use crate::encodings::{Encodings, EncodingsUse};

/// Upper bounds of the buckets of durations, in seconds. They are upstream's.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// Custom kinds that get series of their own. Series are never dropped, so without a bound a client
/// that defines kind after kind could fill the memory.
const MAX_CUSTOM_KINDS: usize = 1_000;
/// Group and resource of requests for custom kinds beyond [`MAX_CUSTOM_KINDS`].
const OTHER: &str = "other";

const VALID: &str = "the names, labels and buckets are valid";

/// The labels of a request, apart from the response code.
#[derive(Clone, Debug)]
pub(crate) struct RequestLabels {
    /// `GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH`, `APPLY`, `DELETE`, `DELETECOLLECTION`.
    pub(crate) verb: &'static str,
    /// The row of the resource table; `None` for other paths.
    pub(crate) resource: Option<ResourceRef>,
    /// Name of the subresource, if the request is for one.
    pub(crate) subresource: Option<&'static str>,
    /// `cluster`, `namespace` or `resource`; empty for other paths.
    pub(crate) scope: &'static str,
    /// Whether the request was a dry run.
    pub(crate) dry_run: bool,
}

/// The metrics of one server. Two servers in one process share none.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGauge,
    long_running: IntGauge,
    custom_kinds: Mutex<HashSet<[String; 3]>>,
    started: Timestamp,
}

/// Counts a long-running request until it is dropped.
pub(crate) struct LongRunningGuard(IntGauge);

impl Drop for LongRunningGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Returns metrics without any request. `started` is reported as the start of the process.
    pub(crate) fn new(started: Timestamp) -> Self {
        let labels = [
            "dry_run",
            "group",
            "resource",
            "scope",
            "subresource",
            "verb",
            "version",
        ];
        let requests = Opts::new(
            "apiserver_request_total",
            "Requests by verb, resource and HTTP code.",
        );
        let durations = HistogramOpts::new(
            "apiserver_request_duration_seconds",
            "How long requests took.",
        );
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                requests.const_label("component", "apiserver"),
                &[&["code"], &labels[..]].concat(),
            )
            .expect(VALID),
            durations: HistogramVec::new(
                durations
                    .const_label("component", "apiserver")
                    .buckets(BUCKETS.to_vec()),
                &labels,
            )
            .expect(VALID),
            in_flight: IntGauge::new(
                "apiserver_current_inflight_requests",
                "Requests that are being worked on.",
            )
            .expect(VALID),
            long_running: IntGauge::new(
                "apiserver_longrunning_requests",
                "Watches and other long-running requests.",
            )
            .expect(VALID),
            custom_kinds: Mutex::default(),
            started,
        };
        let collectors: [Box<dyn Collector>; 4] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.durations.clone()),
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.long_running.clone()),
        ];
        for collector in collectors {
            metrics.registry.register(collector).expect(VALID);
        }
        metrics
    }

    /// Counts a long-running request for as long as the guard lives.
    pub(crate) fn long_running(&self) -> LongRunningGuard {
        self.long_running.inc();
        LongRunningGuard(self.long_running.clone())
    }

    /// Counts a request that was answered with `code` after `took`.
    pub(crate) fn count(&self, labels: &RequestLabels, code: StatusCode, took: Duration) {
        let [group, version, resource] = labels.resource.as_ref().map_or([""; 3], |row| {
            let kind = [&*row.group, &*row.version, &*row.plural];
            if row.is_custom() && !self.has_series(kind) {
                [OTHER; 3]
            } else {
                kind
            }
        });
        let values = [
            code.as_str(),
            if labels.dry_run { "All" } else { "" },
            group,
            resource,
            labels.scope,
            labels.subresource.unwrap_or_default(),
            labels.verb,
            version,
        ];
        self.requests.with_label_values(&values).inc();
        self.durations
            .with_label_values(&values[1..])
            .observe(took.as_secs_f64());
    }

    /// Returns whether a custom kind, given by group, version and plural, has series of its own.
    /// Makes room for them while there is some.
    fn has_series(&self, kind: [&str; 3]) -> bool {
        let mut kinds = self
            .custom_kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kind = kind.map(str::to_owned);
        kinds.contains(&kind) || (kinds.len() < MAX_CUSTOM_KINDS && kinds.insert(kind))
    }

    /// Renders all metrics. `in_flight` is the number of requests that are being worked on.
    pub(crate) fn render(&self, in_flight: usize, encodings: &Encodings) -> String {
        // A gauge that is set when it is read costs requests nothing.
        self.in_flight
            .set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        let families = [
            self.registry.gather(),
            process(self.started),
            of_encodings(encodings),
        ]
        .concat();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("every family has samples, and a string takes them all")
    }
}

fn gauge(name: &str, help: &str, value: f64) -> Vec<MetricFamily> {
    let gauge = Gauge::new(name, help).expect(VALID);
    gauge.set(value);
    gauge.collect()
}

/// Returns the metrics of this process, as far as the system reports them.
fn process(started: Timestamp) -> Vec<MetricFamily> {
    let mut families = gauge(
        "process_start_time_seconds",
        "When the server was built, as a Unix time.",
        whole(started.as_second()),
    );
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm
        .split(' ')
        .map(|pages| pages.trim().parse::<i64>().ok());
    // Pages of 4 KiB: the kernels of all platforms that have /proc and matter here use them.
    if let (Some(Some(size)), Some(Some(resident))) = (pages.next(), pages.next()) {
        families.extend(gauge(
            "process_virtual_memory_bytes",
            "Virtual memory.",
            whole(size * 4096),
        ));
        families.extend(gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            whole(resident * 4096),
        ));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let files = i64::try_from(files.count()).unwrap_or(i64::MAX);
        families.extend(gauge("process_open_fds", "Open files.", whole(files)));
    }
    if let Some(seconds) = cpu_seconds() {
        let counter =
            Counter::new("process_cpu_seconds_total", "Processor time used.").expect(VALID);
        counter.inc_by(seconds);
        families.extend(counter.collect());
    }
    families
}

/// Converts a whole number to the floating-point number that the format knows. Numbers up to 2^53
/// stay exact, and no metric here is larger.
#[expect(
    clippy::cast_precision_loss,
    reason = "metrics of the format are floating-point numbers"
)]
fn whole(number: i64) -> f64 {
    number as f64
}

/// Returns the user and system time of this process, which Linux counts in hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields
        .split(' ')
        .skip(11)
        .map(|ticks| ticks.parse::<u32>().ok());
    Some(f64::from(fields.next()?? + fields.next()??) / 100.0)
}

fn of_encodings(encodings: &Encodings) -> Vec<MetricFamily> {
    let made = Opts::new("exeunt_encodings_made_total", "Encodings that were made.");
    let shared = Opts::new(
        "exeunt_encodings_shared_total",
        "Encodings that were there already when they were asked for.",
    );
    let bytes = Opts::new(
        "exeunt_encodings_bytes",
        "Bytes of kept encodings and of what they were made from.",
    );
    let made = IntCounterVec::new(made, &["of"]).expect(VALID);
    let shared = IntCounterVec::new(shared, &["of"]).expect(VALID);
    let bytes = GaugeVec::new(bytes, &["of"]).expect(VALID);
    // A registry of its own sorts the samples.
    let registry = Registry::new();
    let collectors: [Box<dyn Collector>; 3] = [
        Box::new(made.clone()),
        Box::new(shared.clone()),
        Box::new(bytes.clone()),
    ];
    for collector in collectors {
        registry.register(collector).expect(VALID);
    }
    for (of, used) in encodings.usage() {
        let EncodingsUse {
            made: new,
            shared: again,
            bytes: kept,
        } = used;
        made.with_label_values(&[of]).inc_by(new);
        shared.with_label_values(&[of]).inc_by(again);
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        bytes.with_label_values(&[of]).set(whole(kept));
    }
    registry.gather()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn render(metrics: &Metrics, in_flight: usize) -> String {
        metrics.render(in_flight, &Encodings::default())
    }

    #[test]
    fn requests_are_counted_under_their_labels() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let labels = RequestLabels {
            verb: "LIST",
            resource: Some((&testing::RESOURCES[0]).into()),
            subresource: None,
            scope: "namespace",
            dry_run: false,
        };
        metrics.count(&labels, StatusCode::OK, Duration::from_millis(30));
        metrics.count(&labels, StatusCode::OK, Duration::from_secs(90));
        metrics.count(&labels, StatusCode::NOT_FOUND, Duration::from_millis(1));
        let text = render(&metrics, 3);
        let labels = r#"component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="LIST",version="v1""#;
        for expected in [
            "# HELP apiserver_request_total Requests by verb, resource and HTTP code.\n# TYPE apiserver_request_total counter\n".to_owned(),
            format!("apiserver_request_total{{code=\"200\",{labels}}} 2\n"),
            format!("apiserver_request_total{{code=\"404\",{labels}}} 1\n"),
            "# TYPE apiserver_request_duration_seconds histogram\n".to_owned(),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 1\n"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"60\"}} 2\n"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3\n"),
            format!("apiserver_request_duration_seconds_count{{{labels}}} 3\n"),
            "# TYPE apiserver_current_inflight_requests gauge\napiserver_current_inflight_requests 3\n".to_owned(),
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 0\n".to_owned(),
            "# TYPE exeunt_encodings_made_total counter\nexeunt_encodings_made_total{of=\"frame\"} 0\n".to_owned(),
            "exeunt_encodings_bytes{of=\"object\"} 0\n".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected} is missing in {text}");
        }
        assert!(!text.contains("# EOF"), "that is OpenMetrics: {text}");
    }

    #[test]
    fn versions_of_custom_kinds_count_towards_the_bound_of_series() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let has_series = |at: usize| metrics.has_series(["g", &format!("v{at}"), "crates"]);
        let with_series = (0..MAX_CUSTOM_KINDS + 50).filter(|at| has_series(*at));
        assert_eq!(with_series.count(), MAX_CUSTOM_KINDS);
        assert!(has_series(0), "a kind keeps its series");
    }

    #[test]
    fn a_long_running_request_is_counted_until_its_guard_is_dropped() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let watch = metrics.long_running();
        assert!(render(&metrics, 0).contains("apiserver_longrunning_requests 1\n"));
        drop(watch);
        assert!(render(&metrics, 0).contains("apiserver_longrunning_requests 0\n"));
    }
}
