//! The rows of a step are sampled on the model's threads: how many there are must not matter.

use matou_engine::EngineConfig;
use matou_kernels::ThreadPool;
use matou_model::{ForwardBatch, KvCacheDtype, LanguageModel, Logits, ModelError, ModelInfo};
use matou_testkit::scripted::ScriptedModel;

use crate::determinism::replay_on;

/// A scripted model that lends its threads. Its vocabulary is so large that a step of some ten
/// requests is shared among them, and one of a single request is not.
struct ModelWithThreads {
    model: ScriptedModel,
    threads: ThreadPool,
}

impl ModelWithThreads {
    fn boxed(threads: usize) -> Box<dyn LanguageModel> {
        Box::new(Self {
            model: ScriptedModel::new(5000),
            threads: ThreadPool::new(threads),
        })
    }
}

impl LanguageModel for ModelWithThreads {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn thread_pool(&self) -> Option<&ThreadPool> {
        Some(&self.threads)
    }

    fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize {
        self.model.kv_block_bytes(dtype)
    }

    fn allocate_kv_cache(
        &mut self,
        num_blocks: usize,
        dtype: KvCacheDtype,
    ) -> Result<(), ModelError> {
        self.model.allocate_kv_cache(num_blocks, dtype)
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError> {
        self.model.forward(batch)
    }
}

#[test]
fn answers_do_not_depend_on_the_threads_that_sample_them() {
    let alone = EngineConfig {
        enable_prefix_caching: false,
        max_num_seqs: 1,
        ..EngineConfig::default()
    };
    let in_order = 0..40;
    let expected = replay_on(
        Box::new(ScriptedModel::new(5000)),
        alone,
        in_order.clone(),
        1,
    );
    for threads in [1, 2, 3] {
        let answers = replay_on(
            ModelWithThreads::boxed(threads),
            EngineConfig::default(),
            in_order.clone(),
            40,
        );
        assert_eq!(answers, expected, "{threads} threads");
    }
}
