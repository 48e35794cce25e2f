//! The quantisation that the name of a GGUF file states, as in `hf:owner/repo:Q5_K_M`.
//!
//! There is no rule for these names, only habits: `m-Q5_K_M.gguf`, `m.q5_k_m.gguf`, `m_q4_0.gguf`,
//! `m-UD-Q4_K_XL.gguf`, `Q8_0/m-00001-of-00003.gguf`.

use crate::model_ref::shard_stem;

/// Formats whose name is no letter and number of bits.
const OTHER_FORMATS: [&str; 10] = [
    "F16",
    "BF16",
    "F32",
    "FP16",
    "FP32",
    "FP8",
    "MXFP4",
    "MXFP4_MOE",
    "NVFP4",
    "F64",
];

/// The quantisation in the name of `file`, in capitals; that of its folder if the name has none.
pub(crate) fn label(file: &str) -> Option<String> {
    let (folder, _) = file.rsplit_once('/').unwrap_or_default();
    let folder = folder.rsplit('/').next().unwrap_or_default();
    in_name(stem(file)).or_else(|| in_name(folder))
}

/// The files among `models` of this quantisation: those whose [`label`] it is, or else those whose
/// name ends in it.
pub(crate) fn select<'a>(models: &'a [String], quantization: &str) -> Vec<&'a String> {
    let labelled =
        |file: &&String| label(file).is_some_and(|label| label.eq_ignore_ascii_case(quantization));
    let exact: Vec<&String> = models.iter().filter(labelled).collect();
    if !exact.is_empty() {
        return exact;
    }
    let wanted = quantization.to_ascii_lowercase();
    let ends = |file: &&String| {
        let name = stem(file).to_ascii_lowercase();
        let before = name.strip_suffix(&wanted);
        before.is_some_and(|before| before.ends_with(['-', '.']))
    };
    models.iter().filter(ends).collect()
}

/// The quantisations of `models`, each once, in their order.
pub(crate) fn labels(models: &[String]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for label in models.iter().filter_map(|file| label(file)) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

/// The name of a file without its folders, the numbers of a shard and `.gguf`.
fn stem(file: &str) -> &str {
    let stem = shard_stem(file).unwrap_or_else(|| file.trim_end_matches(".gguf"));
    stem.rsplit('/').next().unwrap_or(stem)
}

/// The last part of a name that is a quantisation; with the `UD-` that stands before some.
fn in_name(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split(['-', '.']).collect();
    let found = parts.iter().enumerate().rev();
    let (at, format) = found
        .filter_map(|(at, part)| Some((at, format_in(part)?)))
        .next()?;
    let dynamic = at > 0 && parts[at - 1].eq_ignore_ascii_case("UD");
    Some(format!("{}{format}", if dynamic { "UD-" } else { "" }))
}

/// A format that `part` ends in: all of it, or all behind one of its underscores.
fn format_in(part: &str) -> Option<String> {
    let part = part.to_ascii_uppercase();
    let behind = part.match_indices('_').map(|(at, _)| at + 1);
    let mut starts = std::iter::once(0).chain(behind);
    let start = starts.find(|&start| is_format(&part[start..]))?;
    Some(part[start..].to_owned())
}

/// `Q4_0`, `Q5_K_M`, `IQ3_XXS`, `TQ1_0`, `BF16` …
fn is_format(text: &str) -> bool {
    if OTHER_FORMATS.contains(&text) {
        return true;
    }
    let rest = ["IQ", "TQ", "Q"].iter().find_map(|q| text.strip_prefix(q));
    let Some(rest) = rest.and_then(|rest| rest.strip_prefix(|c: char| c.is_ascii_digit())) else {
        return false;
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    rest.is_empty() || (rest.starts_with('_') && rest.chars().all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_labelled_by_what_its_name_or_its_folder_says() {
        for (file, expected) in [
            ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", Some("Q4_K_M")),
            ("m.q5_k_m.gguf", Some("Q5_K_M")),
            ("m_q4_0.gguf", Some("Q4_0")),
            ("q8_0.gguf", Some("Q8_0")),
            ("m-UD-Q4_K_XL.gguf", Some("UD-Q4_K_XL")),
            ("m.i1-IQ3_XXS.gguf", Some("IQ3_XXS")),
            ("Qwen3-8B-BF16.gguf", Some("BF16")),
            ("q/m-Q6_K-00001-of-00002.gguf", Some("Q6_K")),
            ("Q8_0/m-00001-of-00003.gguf", Some("Q8_0")),
            ("m-f32.Q5_1.gguf", Some("Q5_1")),
            ("Qwen3-8B.gguf", None),
            ("m-Q40B.gguf", None),
            ("-00001-of-00002.gguf", None),
            ("ü.gguf", None),
            ("", None),
        ] {
            assert_eq!(label(file).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn a_quantisation_is_a_whole_word_in_any_case() {
        let models = [
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "m-UD-Q4_K_XL.gguf",
            "m-UD-Q4_K_M.gguf",
            "m-special.gguf",
        ]
        .map(str::to_owned);
        for (quantization, expected) in [
            ("q4_k_m", &["m-Q4_K_M.gguf"][..]),
            ("ud-q4_k_m", &["m-UD-Q4_K_M.gguf"]),
            ("Q4_K_XL", &["m-UD-Q4_K_XL.gguf"]),
            ("special", &["m-special.gguf"]),
            ("Q4_K", &[]),
            ("K_M", &[]),
            ("", &[]),
        ] {
            assert_eq!(select(&models, quantization), expected, "{quantization}");
        }
        let known = ["Q4_K_M", "Q4_K_S", "UD-Q4_K_XL", "UD-Q4_K_M"];
        assert_eq!(labels(&models), known);
    }
}
