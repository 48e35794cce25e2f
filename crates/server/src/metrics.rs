//! `GET /metrics`: the engine's counters as Prometheus text.
//!
//! Names, suffixes and labels are those of vLLM, with `matou:` for `vllm:`, so that dashboards made
//! for it work after replacing the prefix.

use std::fmt::{Display, Write as _};

use matou_engine::{EngineConfig, EngineStats, FinishReason, Histogram};

/// What the server counts beside the engine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServerStats {
    /// Connections that are open.
    pub(crate) connections: usize,
    /// Connections that were closed because others needed their place.
    pub(crate) evicted: u64,
    /// Connections that found no place.
    pub(crate) refused: u64,
    /// Bytes that large request bodies take.
    pub(crate) body_bytes: usize,
    /// Pieces of work done in processes of their own, those stopped because they took too long, and
    /// those that took too much.
    pub(crate) isolated: (u64, u64, u64),
}

/// Renders `stats` in Prometheus' text format, version 0.0.4.
pub(crate) fn render(
    stats: &EngineStats,
    server: &ServerStats,
    config: &EngineConfig,
    model_name: &str,
) -> String {
    let mut page = Page::new(model_name);
    page.server(server);
    page.isolated(server.isolated);
    page.gauges(stats);
    page.cache_config(config);
    page.counters(stats);
    page.success(&stats.finished);
    page.histograms(stats);
    page.text
}

struct Page {
    text: String,
    /// The labels that every sample carries.
    labels: String,
}

impl Page {
    fn new(model_name: &str) -> Self {
        let name = model_name
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        Self {
            text: String::new(),
            labels: format!(r#"model_name="{name}",engine="0""#),
        }
    }

    fn gauges(&mut self, stats: &EngineStats) {
        let used = stats.kv_blocks_used as f64 / stats.kv_blocks_total.max(1) as f64;
        self.gauge(
            "num_requests_running",
            "Sequences that are running.",
            stats.running,
        );
        self.gauge(
            "num_requests_waiting",
            "Sequences that wait to run.",
            stats.waiting,
        );
        self.gauge(
            "kv_cache_usage_perc",
            "Share of the KV blocks in use; 1 is all.",
            used,
        );
        self.gauge(
            "kv_blocks_used",
            "KV blocks that sequences hold.",
            stats.kv_blocks_used,
        );
        self.gauge(
            "kv_blocks_cached",
            "KV blocks kept for reuse.",
            stats.kv_blocks_cached,
        );
        self.gauge(
            "kv_blocks_total",
            "KV blocks in all.",
            stats.kv_blocks_total,
        );
    }

    fn server(&mut self, server: &ServerStats) {
        self.gauge(
            "http_connections",
            "Connections that are open.",
            server.connections,
        );
        self.gauge(
            "http_body_bytes",
            "Bytes of large request bodies that are held.",
            server.body_bytes,
        );
        self.counter(
            "http_connections_evicted",
            "Connections closed because others needed their place.",
            server.evicted,
        );
        self.counter(
            "http_connections_refused",
            "Connections that found no place.",
            server.refused,
        );
    }

    fn isolated(&mut self, (jobs, timed_out, died): (u64, u64, u64)) {
        let help = "Templates rendered and grammars tried in processes of their own.";
        self.counter("isolated_jobs", help, jobs);
        let help = "Those that were stopped because they took too long.";
        self.counter("isolated_jobs_timed_out", help, timed_out);
        let help = "Those that took too much memory, or crashed.";
        self.counter("isolated_jobs_died", help, died);
    }

    fn counters(&mut self, stats: &EngineStats) {
        let (prompt, cached) = (stats.prompt_tokens, stats.cached_tokens);
        self.counter("prompt_tokens", "Prompt tokens read.", prompt);
        self.counter(
            "prompt_tokens_cached",
            "Prompt tokens that were cached.",
            cached,
        );
        self.counter(
            "generation_tokens",
            "Tokens generated.",
            stats.generation_tokens,
        );
        self.counter(
            "prefix_cache_queries",
            "Tokens looked up in the prefix cache.",
            prompt,
        );
        self.counter(
            "prefix_cache_hits",
            "Tokens found in the prefix cache.",
            cached,
        );
        self.counter(
            "num_preemptions",
            "Times a sequence gave up its blocks.",
            stats.preemptions,
        );
        self.counter("request_failure", "Requests that failed.", stats.failed);
    }

    fn histograms(&mut self, stats: &EngineStats) {
        let families = [
            (
                "request_queue_time_seconds",
                "Time before the first step.",
                &stats.queue_time,
            ),
            (
                "time_to_first_token_seconds",
                "Time before a token.",
                &stats.time_to_first_token,
            ),
            (
                "inter_token_latency_seconds",
                "Time between tokens.",
                &stats.inter_token_latency,
            ),
            (
                "e2e_request_latency_seconds",
                "Time from arrival to end.",
                &stats.e2e_latency,
            ),
            (
                "request_prefill_time_seconds",
                "Time from the first step to a token.",
                &stats.prefill_time,
            ),
            (
                "request_decode_time_seconds",
                "Time from the first token to the end.",
                &stats.decode_time,
            ),
            (
                "request_inference_time_seconds",
                "Time from the first step to the end.",
                &stats.inference_time,
            ),
            (
                "request_prompt_tokens",
                "Prompt tokens of a request.",
                &stats.request_prompt_tokens,
            ),
            (
                "request_generation_tokens",
                "Tokens generated for a request.",
                &stats.request_generation_tokens,
            ),
            (
                "request_params_max_tokens",
                "Tokens that a request allows an answer.",
                &stats.request_max_tokens,
            ),
            (
                "request_params_n",
                "Answers that a request wants.",
                &stats.request_n,
            ),
            (
                "iteration_num_requests",
                "Sequences in a step.",
                &stats.batch_size,
            ),
            (
                "iteration_tokens_total",
                "Tokens in a step.",
                &stats.step_tokens,
            ),
        ];
        for (name, help, histogram) in families {
            self.histogram(name, help, histogram);
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP matou:{name} {help}"));
        self.line(format_args!("# TYPE matou:{name} {kind}"));
    }

    fn sample(&mut self, name: &str, further_labels: &str, value: impl Display) {
        let labels = self.labels.clone();
        self.line(format_args!(
            "matou:{name}{{{labels}{further_labels}}} {value}"
        ));
    }

    fn line(&mut self, line: std::fmt::Arguments) {
        writeln!(self.text, "{line}").expect("a String takes every write");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.family(&name, "counter", help);
        self.sample(&name, "", value);
    }

    fn success(&mut self, finished: &[u64; FinishReason::ALL.len()]) {
        let name = "request_success_total";
        self.family(name, "counter", "Answers that ended, by reason.");
        for (reason, count) in FinishReason::ALL.into_iter().zip(finished) {
            self.sample(
                name,
                &format!(r#",finished_reason="{}""#, reason.as_str()),
                count,
            );
        }
    }

    /// How the cache is set up, as labels of a constant.
    fn cache_config(&mut self, config: &EngineConfig) {
        let labels = format!(
            r#",num_kv_blocks="{}",cache_dtype="{:?}",enable_prefix_caching="{}""#,
            config.num_kv_blocks, config.kv_cache_dtype, config.enable_prefix_caching
        );
        self.family("cache_config_info", "gauge", "How the KV cache is set up.");
        self.sample("cache_config_info", &labels.to_lowercase(), 1);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut cumulated = 0;
        let bounds = histogram.bounds.iter().map(|bound| format!("{bound:?}"));
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&histogram.counts) {
            cumulated += count;
            self.sample(
                &format!("{name}_bucket"),
                &format!(r#",le="{bound}""#),
                cumulated,
            );
        }
        self.sample(&format!("{name}_sum"), "", histogram.sum);
        self.sample(&format!("{name}_count"), "", cumulated);
    }
}
