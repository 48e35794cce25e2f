//! `GET /metrics`: the engines' counters as Prometheus text, those of each model under its name.
//!
//! Names, suffixes and labels are those of vLLM, with `matou:` for `vllm:`, so that dashboards made
//! for it work after replacing the prefix.

use std::fmt::{Display, Write as _};

use matou_engine::{EngineConfig, EngineStats, FinishReason, Histogram};
use matou_llm::models::{ModelFacts, ModelState, ModelStatus};

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
    /// What browsers kept the page from doing.
    pub(crate) page_violations: u64,
    /// Pieces of work done in processes of their own, those stopped because they took too long, and
    /// those that took too much.
    pub(crate) isolated: (u64, u64, u64),
    /// Memory that models take or were promised, and all that they may, in bytes.
    pub(crate) memory_used: u64,
    pub(crate) memory_budget: u64,
}

/// Renders all in Prometheus' text format, version 0.0.4.
pub(crate) fn render(models: &[ModelStatus], server: &ServerStats) -> String {
    let mut page = Page::default();
    page.server(server);
    page.isolated(server.isolated);
    for model in models {
        page.labels = model_labels(&model.facts.names[0]);
        page.model(model);
        let Some((stats, config)) = &model.engine else {
            continue;
        };
        page.gauges(stats);
        if let Some(config) = config {
            page.cache_config(config);
        }
        page.counters(stats);
        page.success(&stats.finished);
        page.histograms(stats);
    }
    let families = page.families.into_iter();
    families.map(|family| family.text).collect()
}

/// The labels that every sample of a model carries.
fn model_labels(name: &str) -> String {
    format!(r#"model_name="{}",engine="0""#, escaped(name))
}

/// The value of a label.
fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The samples of a family stand together, whichever model they are of.
#[derive(Default)]
struct Page {
    families: Vec<Family>,
    /// The family that samples go to.
    current: usize,
    labels: String,
}

struct Family {
    name: String,
    text: String,
}

impl Page {
    fn model(&mut self, model: &ModelStatus) {
        let is_loaded = matches!(model.state, ModelState::Loaded { .. });
        let (_, waiting) = model.requests;
        self.gauge(
            "model_loaded",
            "Whether the model is in memory.",
            u8::from(is_loaded),
        );
        self.gauge(
            "model_memory_bytes",
            "Memory it takes when it is.",
            model.facts.memory,
        );
        self.gauge(
            "model_requests_waiting",
            "Requests that wait for it to be loaded.",
            waiting,
        );
        self.counter("model_loads", "Times it was loaded.", model.loads);
        self.device(&model.facts);
    }

    /// Where it runs, as labels of a constant.
    fn device(&mut self, facts: &ModelFacts) {
        let (device, kind) = (escaped(&facts.device), facts.device_kind);
        self.family("device_info", "gauge", "The device that it runs on.");
        let labels = format!(r#",device="{device}",kind="{kind}""#);
        self.sample("device_info", &labels, 1);
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
        self.counter(
            "page_policy_violations",
            "Reports of browsers that the page tried what its policy forbids.",
            server.page_violations,
        );
        let help = "Memory that models take or were promised.";
        self.gauge("models_memory_bytes", help, server.memory_used);
        if server.memory_budget < u64::MAX {
            let help = "Memory that all models together may take.";
            self.gauge("models_memory_budget_bytes", help, server.memory_budget);
        }
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

    /// Begins a family, or goes on with it.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let known = self.families.iter().position(|family| family.name == name);
        self.current = known.unwrap_or_else(|| {
            self.families.push(Family {
                name: name.to_owned(),
                text: format!("# HELP matou:{name} {help}\n# TYPE matou:{name} {kind}\n"),
            });
            self.families.len() - 1
        });
    }

    fn sample(&mut self, name: &str, further_labels: &str, value: impl Display) {
        let labels = format!("{}{further_labels}", self.labels);
        let labels = match labels.trim_start_matches(',') {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        let text = &mut self.families[self.current].text;
        writeln!(text, "matou:{name}{labels} {value}").expect("a String takes every write");
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
