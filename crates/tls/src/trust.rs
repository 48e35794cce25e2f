//! How a device comes to trust an authority.

use std::path::Path;

/// What somebody reads in a terminal: a paragraph a system.
pub(crate) fn instructions(name: &str, path: &Path, fingerprint: &str) -> String {
    let file = quoted(path);
    format!(
        "Devices trust this server once they trust the authority of this machine.\n\
         \n\
         \x20 Name         {name}\n\
         \x20 File         {}\n\
         \x20 SHA-256      {fingerprint}\n\
         \n\
         Copy the file to the device, and compare the fingerprint there. Never copy ca-key.pem.\n\
         \n\
         Linux (Debian, Ubuntu)\n\
         \x20 sudo install -m 644 {file} /usr/local/share/ca-certificates/matou.crt\n\
         \x20 sudo update-ca-certificates\n\
         \x20 Chrome has a list of its own: chrome://certificate-manager > Local certificates > Custom >\n\
         \x20 Trusted Certificates > Import\n\
         Linux (Fedora, Arch)\n\
         \x20 sudo trust anchor {file}\n\
         Firefox, on all systems\n\
         \x20 Settings > Privacy & Security > View Certificates > Authorities > Import >\n\
         \x20 \"Trust this CA to identify websites\"\n\
         macOS\n\
         \x20 sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {file}\n\
         Windows\n\
         \x20 certutil -user -addstore Root ca.pem\n\
         iPhone, iPad\n\
         \x20 1. Open ca.pem (AirDrop, Mail or Safari), and allow the profile.\n\
         \x20 2. Settings > General > VPN & Device Management > the profile > Install.\n\
         \x20 3. Settings > General > About > Certificate Trust Settings > switch it on.\n\
         Android\n\
         \x20 Settings > Security & privacy > More security settings > Encryption & credentials >\n\
         \x20 Install a certificate > CA certificate > Install anyway > ca.pem\n\
         \n\
         Start the browser again afterwards.\n",
        path.display()
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_is_told_of_in_lines_of_a_terminal() {
        let text = instructions(
            "matou authority of box",
            Path::new("/home/cat/ca.pem"),
            "AA:BB",
        );
        for wanted in [
            "update-ca-certificates",
            "trust anchor /home/cat/ca.pem",
            "Firefox",
            "add-trusted-cert",
            "certutil",
            "Certificate Trust Settings",
            "Android",
            "AA:BB",
            "matou authority of box",
        ] {
            assert!(text.contains(wanted), "{wanted}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 110),
            "{text}"
        );
        assert!(!text.contains('\t'));
    }

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-c_d.pem")), "/a/b-c_d.pem");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert_eq!(quoted(Path::new("/$(x)")), "'/$(x)'");
    }
}
