//! What the environment tells a plugin, as plain data.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use plugmesh::env;

use crate::Error;

/// Where variables are read from: the process, or what a test gave.
#[derive(Debug, Default)]
pub(crate) enum Environment {
    #[default]
    Process,
    Given(HashMap<String, OsString>),
}

/// Everything that the environment says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Listen,
    pub(crate) address_file: Option<PathBuf>,
    pub(crate) lifeline: Option<i32>,
    /// A host started this process: it has a session and lifecycle phases to come.
    pub(crate) launched: bool,
    /// Gateway to use until a handshake names one.
    pub(crate) gateway: Option<String>,
    pub(crate) config_file: Option<PathBuf>,
}

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nobody said: a fresh Unix socket, for a person to find.
    Fresh,
    Unix(PathBuf),
    Tls(SocketAddr, TlsFiles),
    /// Plaintext, on loopback, for a plugin started by hand.
    Loopback(SocketAddr),
}

/// PEM files of a TLS listener.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: PathBuf,
}

impl Environment {
    fn get(&self, name: &str) -> Option<OsString> {
        let value = match self {
            Self::Process => std::env::var_os(name),
            Self::Given(variables) => variables.get(name).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, Error> {
        self.get(name).map(|value| value.into_string().map_err(|raw| not_text(name, &raw))).transpose()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }
}

impl Settings {
    pub(crate) fn read(environment: &Environment) -> Result<Self, Error> {
        let launched = environment.get(env::INSTANCE_ID).is_some();
        Ok(Self {
            listen: Listen::read(environment, launched)?,
            address_file: environment.path(env::ADDRESS_FILE),
            lifeline: lifeline(environment)?,
            launched,
            gateway: environment.text(env::HOST)?,
            config_file: environment.path(env::CONFIG_FILE),
        })
    }
}

impl Listen {
    fn read(environment: &Environment, launched: bool) -> Result<Self, Error> {
        let Some(value) = environment.text(env::LISTEN)? else {
            return Ok(Self::Fresh);
        };
        let wrong = |reason: &str| setting(env::LISTEN, &value, reason);
        if let Some(path) = value.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(wrong("the path must be absolute, as in unix:///run/plugin.sock"))
            };
        }
        let Some(address) = value.strip_prefix("tcp://") else {
            return Err(wrong("use unix:///absolute/path or tcp://127.0.0.1:0"));
        };
        let address: SocketAddr =
            address.parse().map_err(|_| wrong("use an IP address with a port, as in tcp://127.0.0.1:0"))?;
        match TlsFiles::read(environment)? {
            Some(files) => Ok(Self::Tls(address, files)),
            None if launched => {
                Err(wrong("the host gave no TLS files for it; plaintext TCP is for plugins started by hand"))
            }
            None if address.ip().is_loopback() => Ok(Self::Loopback(address)),
            None => Err(wrong(
                "plaintext is only for loopback; set PLUGMESH_TLS_CERT_FILE, PLUGMESH_TLS_KEY_FILE and \
                 PLUGMESH_TLS_CLIENT_CA_FILE",
            )),
        }
    }
}

impl TlsFiles {
    fn read(environment: &Environment) -> Result<Option<Self>, Error> {
        let names = [env::TLS_CERT_FILE, env::TLS_KEY_FILE, env::TLS_CLIENT_CA_FILE];
        match names.map(|name| environment.path(name)) {
            [Some(certificate), Some(key), Some(client_ca)] => Ok(Some(Self { certificate, key, client_ca })),
            [None, None, None] => Ok(None),
            some => {
                let missing = names.iter().zip(&some).find(|(_, path)| path.is_none());
                let variable = missing.map_or(env::TLS_CERT_FILE, |(name, _)| name);
                Err(setting(
                    variable,
                    "",
                    "the three PLUGMESH_TLS_*_FILE variables are set together or not at all",
                ))
            }
        }
    }
}

fn lifeline(environment: &Environment) -> Result<Option<i32>, Error> {
    let Some(value) = environment.text(env::LIFELINE_FD)? else {
        return Ok(None);
    };
    match value.parse::<i32>() {
        Ok(fd) if fd > 2 => Ok(Some(fd)),
        _ => Err(setting(env::LIFELINE_FD, &value, "use the number of an inherited descriptor, 3 or more")),
    }
}

fn setting(variable: &'static str, value: &str, reason: &str) -> Error {
    Error::Setting { variable, value: value.into(), reason: reason.into() }
}

fn not_text(variable: &'static str, raw: &OsString) -> Error {
    setting(variable, &raw.to_string_lossy(), "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let given = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::read(&Environment::Given(given))
    }

    #[test]
    fn no_variable_at_all_means_started_by_hand() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.listen, Listen::Fresh);
        assert!(!settings.launched);
    }

    #[test]
    fn a_unix_path_is_absolute() {
        assert_eq!(read(&[(env::LISTEN, "unix:///a/b")]).unwrap().listen, Listen::Unix("/a/b".into()));
        let error = read(&[(env::LISTEN, "unix://a/b")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"PLUGMESH_LISTEN="unix://a/b": the path must be absolute, as in unix:///run/plugin.sock"#
        );
    }

    #[test]
    fn plaintext_tcp_is_for_loopback_by_hand() {
        let loopback = read(&[(env::LISTEN, "tcp://127.0.0.1:0")]).unwrap().listen;
        assert!(matches!(loopback, Listen::Loopback(_)));
        assert!(read(&[(env::LISTEN, "tcp://0.0.0.0:1")]).is_err());
        assert!(read(&[(env::LISTEN, "tcp://127.0.0.1:0"), (env::INSTANCE_ID, "x")]).is_err());
        assert!(read(&[(env::LISTEN, "http://127.0.0.1:0")]).is_err());
    }

    #[test]
    fn tls_files_come_together() {
        let error = read(&[(env::LISTEN, "tcp://127.0.0.1:0"), (env::TLS_CERT_FILE, "/c")]).unwrap_err();
        assert!(error.to_string().starts_with("PLUGMESH_TLS_KEY_FILE="), "{error}");
    }

    #[test]
    fn a_lifeline_is_a_descriptor_above_the_standard_ones() {
        assert_eq!(read(&[(env::LIFELINE_FD, "7")]).unwrap().lifeline, Some(7));
        for bad in ["2", "-1", "x", "99999999999"] {
            assert!(read(&[(env::LIFELINE_FD, bad)]).is_err(), "{bad} was taken");
        }
    }
}
