//! Which files of a repository make up a model.

use crate::error::SourceError;
use crate::model_ref::{shard_names, shard_stem};
use crate::quantization;

/// The quantisation to take when a repository offers many: the usual balance of size and quality.
const PREFERRED: &str = "Q4_K_M";

/// Files that a folder needs besides weights, in Hugging Face's layout or in Mistral's.
const COMPANIONS: [&str; 13] = [
    "config.json",
    "params.json",
    "generation_config.json",
    "tokenizer.json",
    "tekken.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    INDEX,
    "consolidated.safetensors.index.json",
];

/// Names the shards of safetensors weights.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The files of a model, in the order to fetch them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A GGUF model; the first file is the one to open, the others are its further shards.
    Gguf(Vec<String>),
    /// Hugging Face layout; small files first.
    HuggingFace(Vec<String>),
}

impl Choice {
    pub(crate) fn files(&self) -> &[String] {
        match self {
            Self::Gguf(files) | Self::HuggingFace(files) => files,
        }
    }

    /// Whether the choice would be the same if the repository had more files than are known.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::Gguf(files) => is_preferred(&files[0]),
            Self::HuggingFace(_) => true,
        }
    }
}

/// Chooses among `files` of `repo`.
///
/// # Errors
///
/// [`SourceError::ChooseFile`] if no choice is obvious, [`SourceError::NotFound`] if nothing is a
/// model.
pub(crate) fn choose(repo: &str, files: &[String]) -> Result<Choice, SourceError> {
    let models = gguf_models(files);
    match &models[..] {
        [] => hugging_face(repo, files),
        [only] => Ok(Choice::Gguf(shard_names(only))),
        several => {
            let preferred: Vec<&String> =
                several.iter().filter(|file| is_preferred(file)).collect();
            match preferred[..] {
                [one] => Ok(Choice::Gguf(shard_names(one))),
                _ => Err(SourceError::ChooseFile {
                    repo: repo.to_owned(),
                    reason: format!("{repo} holds several models"),
                    candidates: models,
                }),
            }
        }
    }
}

/// The one GGUF model among `files` of `repo` that has this quantisation.
///
/// # Errors
///
/// [`SourceError::NoQuantization`] if none has it, [`SourceError::ChooseFile`] if several have,
/// [`SourceError::NotFound`] if none is a GGUF file.
pub(crate) fn choose_quantization(
    repo: &str,
    files: &[String],
    wanted: &str,
) -> Result<Choice, SourceError> {
    let models = gguf_models(files);
    if models.is_empty() {
        return Err(SourceError::NotFound(format!(
            "{repo} holds no .gguf file to choose by its quantisation"
        )));
    }
    match quantization::select(&models, wanted)[..] {
        [one] => Ok(Choice::Gguf(shard_names(one))),
        [] => Err(SourceError::NoQuantization {
            repo: repo.to_owned(),
            wanted: wanted.to_owned(),
            available: match quantization::labels(&models) {
                labels if labels.is_empty() => models.clone(),
                labels => labels,
            },
        }),
        ref several => Err(SourceError::ChooseFile {
            repo: repo.to_owned(),
            reason: format!("{repo} holds several models of the quantisation {wanted}"),
            candidates: several.iter().map(|file| (*file).clone()).collect(),
        }),
    }
}

/// GGUF models among `files`, each by its first file: no shards but complete first ones that are not
/// there in one piece too, and none of the files that accompany a model (vision projectors,
/// importance matrices).
pub(crate) fn gguf_models(files: &[String]) -> Vec<String> {
    let companion = |file: &str| {
        let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
        name.contains("mmproj") || name.contains("imatrix")
    };
    let is_model = |file: &&String| {
        let shards = shard_names(file);
        file.ends_with(".gguf")
            && !companion(file)
            && shards[0] == **file
            && shards.iter().all(|s| files.contains(s))
            && !shard_stem(file).is_some_and(|stem| files.contains(&format!("{stem}.gguf")))
    };
    files.iter().filter(is_model).cloned().collect()
}

fn is_preferred(file: &str) -> bool {
    file.to_ascii_uppercase().contains(PREFERRED)
}

fn hugging_face(repo: &str, files: &[String]) -> Result<Choice, SourceError> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let weights = |consolidated: bool| -> Vec<String> {
        let weights = |file: &&String| {
            file.ends_with(".safetensors")
                && !file.contains('/')
                && file.starts_with("consolidated") == consolidated
        };
        files.iter().filter(weights).cloned().collect()
    };
    // Mistral publishes the same weights a second time, in its own layout: they are taken where
    // that is all there is.
    let is_hugging_face = has("config.json") && !weights(false).is_empty();
    let is_mistral = !is_hugging_face && has("params.json");
    let weights = weights(is_mistral);
    if !(has("config.json") || is_mistral) || weights.is_empty() {
        return Err(SourceError::NotFound(format!(
            "{repo} holds no model that matou can read (neither a .gguf file nor config.json or params.json with .safetensors)"
        )));
    }
    let wanted = |name: &&&str| has(name) && (!is_mistral || **name != INDEX);
    let foreign = |name: &&&str| is_mistral || !name.starts_with("consolidated");
    let companions = COMPANIONS
        .iter()
        .filter(wanted)
        .filter(foreign)
        .map(|name| (*name).to_owned());
    // Mistral's SentencePiece models have the version of their chat format behind the name.
    let versioned = files
        .iter()
        .filter(|file| file.contains(".model.v") && !file.contains('/'))
        .cloned();
    Ok(Choice::HuggingFace(
        companions.chain(versioned).chain(weights).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Result<Choice, SourceError> {
        choose(
            "me/mine",
            &files
                .iter()
                .map(|file| (*file).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    fn gguf(files: &[&str]) -> Choice {
        Choice::Gguf(files.iter().map(|file| (*file).to_owned()).collect())
    }

    #[test]
    fn mistrals_layout_is_taken_where_there_is_no_other() {
        let files = |files: &[&str]| match chosen(files).unwrap() {
            Choice::HuggingFace(files) => files,
            Choice::Gguf(_) => panic!("no GGUF file was there"),
        };
        let own = ["params.json", "tekken.json", "consolidated.safetensors"];
        assert_eq!(files(&own), own);
        let versioned = files(&[
            "params.json",
            "tokenizer.model.v3",
            "consolidated.safetensors",
        ]);
        assert!(versioned.contains(&"tokenizer.model.v3".to_owned()));
        let both = files(&[
            "config.json",
            "consolidated.safetensors",
            "model.safetensors",
            "params.json",
            "tekken.json",
        ]);
        assert!(both.contains(&"model.safetensors".to_owned()));
        assert!(!both.iter().any(|file| file.starts_with("consolidated")));
        assert!(chosen(&["params.json", "tekken.json"]).is_err());
    }

    #[test]
    fn the_only_gguf_file_is_chosen() {
        let choice = chosen(&[
            "README.md",
            "config.json",
            "m.Q8_0.gguf",
            "mmproj-m.gguf",
            "m.imatrix.gguf",
        ]);
        assert_eq!(choice.unwrap(), gguf(&["m.Q8_0.gguf"]));
    }

    #[test]
    fn among_several_gguf_files_q4_k_m_is_chosen() {
        let choice = chosen(&["m-q2_k.gguf", "m-q4_k_m.gguf", "m-q8_0.gguf"]).unwrap();
        assert_eq!(choice, gguf(&["m-q4_k_m.gguf"]));
        assert!(choice.is_certain());
    }

    #[test]
    fn several_gguf_files_without_an_obvious_one_are_listed() {
        let message = chosen(&["m.Q2_K.gguf", "m.Q8_0.gguf"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "me/mine holds several models; name one of its files, for example hf:me/mine/m.Q2_K.gguf. \
             It has: m.Q2_K.gguf, m.Q8_0.gguf"
        );
    }

    #[test]
    fn a_quantisation_chooses_its_file_with_all_shards_or_the_known_ones_are_listed() {
        let files = [
            "README.md",
            "m-Q4_K_M.gguf",
            "m-Q8_0-00001-of-00002.gguf",
            "m-Q8_0-00002-of-00002.gguf",
            "mmproj-m-F16.gguf",
        ]
        .map(str::to_owned);
        let chosen = |wanted| choose_quantization("me/mine", &files, wanted);
        assert_eq!(chosen("q4_k_m").unwrap(), gguf(&["m-Q4_K_M.gguf"]));
        let shards = ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"];
        assert_eq!(chosen("Q8_0").unwrap(), gguf(&shards));
        assert_eq!(
            chosen("F16").unwrap_err().to_string(),
            "me/mine has no quantisation `F16`; it has: Q4_K_M, Q8_0"
        );
        let two = ["a-Q4_0.gguf", "b-Q4_0.gguf"].map(str::to_owned);
        let message = choose_quantization("me/mine", &two, "Q4_0").unwrap_err();
        assert!(message.to_string().contains("a-Q4_0.gguf, b-Q4_0.gguf"));
        let none = choose_quantization("me/mine", &["config.json".to_owned()], "Q4_0");
        assert!(matches!(none, Err(SourceError::NotFound(_))));
    }

    #[test]
    fn a_split_model_counts_once_and_only_if_it_is_complete() {
        let shards = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        assert_eq!(chosen(&shards).unwrap(), gguf(&shards));
        assert!(matches!(
            chosen(&shards[..1]),
            Err(SourceError::NotFound(_))
        ));
        assert!(matches!(
            chosen(&shards[1..]),
            Err(SourceError::NotFound(_))
        ));
    }

    #[test]
    fn a_model_that_is_there_split_and_whole_is_taken_whole() {
        let files = [
            "m-q4_k_m-00001-of-00002.gguf",
            "m-q4_k_m-00002-of-00002.gguf",
            "m-q4_k_m.gguf",
        ];
        assert_eq!(chosen(&files).unwrap(), gguf(&files[2..]));
        let files = files.map(str::to_owned);
        let by_quantization = choose_quantization("me/mine", &files, "Q4_K_M").unwrap();
        assert_eq!(by_quantization.files(), &files[2..]);
    }

    #[test]
    fn the_hugging_face_layout_is_fetched_without_duplicates_of_the_weights() {
        let choice = chosen(&[
            ".gitattributes",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
            "original/consolidated.00.pth",
            "model.safetensors.index.json",
            "config.json",
            "tokenizer.json",
        ]);
        let files = [
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        assert_eq!(choice.unwrap().files(), files);
    }

    #[test]
    fn a_repository_without_a_model_is_an_error() {
        for files in [
            &[][..],
            &["README.md"],
            &["config.json", "pytorch_model.bin"],
        ] {
            assert!(
                matches!(chosen(files), Err(SourceError::NotFound(_))),
                "{files:?}"
            );
        }
    }
}
