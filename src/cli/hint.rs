//! One line for people who run the tiny default model: which better one this machine has memory for.

use matou_hub::Catalogue;
use matou_llm::open::{OpenOptions, free_memory};

/// The line for `command`, such as `matou serve`, if no model was named. Asked for before the model is
/// loaded, while the memory that another would have is still free.
pub(super) fn better_model(
    command: &str,
    model: Option<&str>,
    options: &OpenOptions,
) -> Option<String> {
    if model.is_some() {
        return None;
    }
    let catalogue = Catalogue::load(options.catalogue.as_deref()).ok()?;
    line(command, &catalogue, free_memory())
}

fn line(command: &str, catalogue: &Catalogue, free: u64) -> Option<String> {
    let better = catalogue.better_than_default(free)?;
    Some(format!(
        "hint: the default model is tiny; this machine has memory for a far better one: {command} {} \
         (a download of {:.1} GB)",
        better.name, better.size_gb
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_a_command_that_works() {
        let catalogue = Catalogue::builtin();
        let hint = line("matou serve", &catalogue, 16 << 30).unwrap();
        let (_, behind) = hint.split_once("matou serve ").unwrap();
        let name = behind.split_whitespace().next().unwrap();
        assert!(catalogue.get(name).is_ok(), "{hint}");
        assert!(!hint.contains('\n'), "{hint}");
        assert_eq!(line("matou serve", &catalogue, 1 << 20), None);
    }

    #[test]
    fn who_names_a_model_gets_no_hint() {
        let options = OpenOptions::default();
        assert_eq!(
            better_model("matou run -m", Some("smollm2"), &options),
            None
        );
    }
}
