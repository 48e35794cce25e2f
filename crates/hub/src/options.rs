//! Where files are kept and how they may be fetched.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::HubError;

/// Where models are kept and how they may be fetched. The environment is read once, in
/// [`HubOptions::from_env`]; nothing else in this crate looks at it.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Address of the model hub (`HF_ENDPOINT`); `None` is Hugging Face's own.
    pub endpoint: Option<String>,
    /// Access token (`HF_TOKEN`, `HF_TOKEN_PATH`, or the file `token` in `HF_HOME`).
    pub token: Option<String>,
    /// The Hugging Face cache, shared with every other program that uses it (`HF_HUB_CACHE`,
    /// `HF_HOME/hub`, `~/.cache/huggingface/hub`).
    pub hub_cache: PathBuf,
    /// matou's own cache: files out of Python packages, and which files were verified
    /// (`XDG_CACHE_HOME/matou`, `~/.cache/matou`).
    pub cache_dir: PathBuf,
    /// Never ask the hub (`HF_HUB_OFFLINE`). Python packages are not affected: pip has its own
    /// setting, `PIP_NO_INDEX`.
    pub offline: bool,
    /// Ask the hub whether a branch has moved on, even if there are files on disk (`matou pull`).
    pub refresh: bool,
    /// How to show that something is being downloaded.
    pub progress: ProgressMode,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// Pause before a broken download goes on; it doubles with each attempt.
    pub retry_delay: Duration,
    /// Environment variables to set for pip, on top of this process's own.
    pub pip_env: Vec<(String, String)>,
}

/// Called with the bytes of a file that are here, and its bytes in all.
pub type Tell = dyn Fn(u64, u64) + Send + Sync;

/// How to show that something is being downloaded.
#[derive(Clone)]
pub enum ProgressMode {
    /// A progress bar if standard error is a terminal, log lines otherwise.
    Auto,
    /// Nothing.
    Silent,
    /// Whoever asked is told the bytes of a file that are here, and its bytes in all.
    Told(Arc<Tell>),
}

impl fmt::Debug for ProgressMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "Auto",
            Self::Silent => "Silent",
            Self::Told(_) => "Told",
        })
    }
}

impl HubOptions {
    /// Reads the environment as the `huggingface_hub` library does.
    ///
    /// # Errors
    ///
    /// [`HubError::NoHome`] if there is no folder to keep files in.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Like [`from_env`](Self::from_env), with `lookup` in place of the process's environment.
    ///
    /// # Errors
    ///
    /// [`HubError::NoHome`] if there is no folder to keep files in.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = set("HOME")
            .map(PathBuf::from)
            .or_else(|| etcetera::home_dir().ok());
        let home = home.ok_or(HubError::NoHome)?;
        let folder = |name: &str| {
            set(name).map(|value| match value.strip_prefix("~/") {
                Some(rest) => home.join(rest),
                None => PathBuf::from(value),
            })
        };
        let xdg_cache = folder("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = folder("HF_HOME").unwrap_or_else(|| xdg_cache.join("huggingface"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let token = match set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            Some(_) => None,
            None => set("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok()),
        };
        Ok(Self {
            endpoint: set("HF_ENDPOINT"),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            hub_cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| hf_home.join("hub")),
            cache_dir: xdg_cache.join("matou"),
            offline: set("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            refresh: false,
            progress: ProgressMode::Auto,
            connect_timeout: Duration::from_secs(5),
            retry_delay: Duration::from_secs(1),
            pip_env: Vec::new(),
        })
    }
}

/// The spellings of "yes" that `huggingface_hub` takes.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(env: &[(&str, &str)]) -> HubOptions {
        HubOptions::from_lookup(|name| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    #[test]
    fn without_settings_the_caches_are_in_the_home_folder() {
        let options = options(&[("HOME", "/home/a")]);
        assert_eq!(
            options.hub_cache,
            PathBuf::from("/home/a/.cache/huggingface/hub")
        );
        assert_eq!(options.cache_dir, PathBuf::from("/home/a/.cache/matou"));
        assert_eq!(
            (options.endpoint, options.token, options.offline),
            (None, None, false)
        );
    }

    #[test]
    fn each_setting_of_the_cache_folder_wins_over_the_more_general_one() {
        let mut env = vec![("HOME", "/home/a"), ("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(
            options(&env).hub_cache,
            PathBuf::from("/xdg/huggingface/hub")
        );
        env.push(("HF_HOME", "~/hf"));
        assert_eq!(options(&env).hub_cache, PathBuf::from("/home/a/hf/hub"));
        env.push(("HF_HUB_CACHE", "/hub"));
        assert_eq!(options(&env).hub_cache, PathBuf::from("/hub"));
    }

    #[test]
    fn the_token_comes_from_the_environment_or_from_the_token_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let hf_home = home.path().to_str().unwrap();
        let env = vec![("HOME", "/home/a"), ("HF_HOME", hf_home)];
        assert_eq!(options(&env).token.as_deref(), Some("from-file"));
        let with = |extra| options(&[&env[..], &[extra]].concat()).token;
        assert_eq!(
            with(("HF_TOKEN", " from-env ")).as_deref(),
            Some("from-env")
        );
        assert_eq!(with(("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")), None);
    }

    #[test]
    fn offline_takes_the_usual_spellings_of_yes() {
        for (value, offline) in [
            ("1", true),
            ("true", true),
            ("ON", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(
                options(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).offline,
                offline
            );
        }
    }
}
