//! Names of plugins and of their instances.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name of a plugin: what a DNS label allows, so that a name fits a certificate and a host name.
pub const MAX_PLUGIN_NAME: usize = 63;

/// Name of a plugin: lower-case letters, digits and `-`, starting with a letter, not ending with `-`.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(Arc<str>);

/// Why a text is no plugin name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a plugin name: use 1 to {MAX_PLUGIN_NAME} lower-case letters, digits and '-', \
     starting with a letter and not ending with '-'"
)]
pub struct InvalidName(String);

impl PluginName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let made_well = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if starts_well && made_well && !text.ends_with('-') && text.len() <= MAX_PLUGIN_NAME {
            Ok(Self(text.into()))
        } else {
            // The text may be anything of any length: show enough of it to recognise it.
            Err(InvalidName(text.chars().take(2 * MAX_PLUGIN_NAME).collect()))
        }
    }
}

/// Name of an instance, `<plugin>-<ordinal>`: the same across restarts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceName {
    plugin: PluginName,
    ordinal: u32,
    text: Arc<str>,
}

impl InstanceName {
    /// Names the instance of `plugin` at position `ordinal`, counted from 0.
    pub fn new(plugin: PluginName, ordinal: u32) -> Self {
        let text = format!("{plugin}-{ordinal}").into();
        Self { plugin, ordinal, text }
    }

    /// The plugin that this is an instance of.
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// Position among the plugin's instances, from 0.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A text that names no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of an instance: it is the plugin's name, '-' and a number, such as calculator-0"
)]
pub struct InvalidInstanceName(String);

impl FromStr for InstanceName {
    type Err = InvalidInstanceName;

    fn from_str(text: &str) -> Result<Self, InvalidInstanceName> {
        let invalid = || InvalidInstanceName(text.chars().take(2 * MAX_PLUGIN_NAME).collect());
        let (plugin, ordinal) = text.rsplit_once('-').ok_or_else(invalid)?;
        let name = Self::new(plugin.parse().map_err(|_| invalid())?, ordinal.parse().map_err(|_| invalid())?);
        // No "+1", no "01".
        Some(name).filter(|name| name.as_str() == text).ok_or_else(invalid)
    }
}

/// Id of one incarnation of an instance: differs after each restart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// A new id, unlike every other.
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! fmt_as_text {
    () => {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(self.as_str())
        }
    };
}

macro_rules! text_like {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fmt_as_text!();
        }

        impl fmt::Debug for $name {
            fmt_as_text!();
        }
    )*};
}

text_like!(PluginName, InstanceName, InstanceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_name_is_a_dns_label() {
        for good in ["a", "calculator", "text-2", &"x".repeat(MAX_PLUGIN_NAME)] {
            assert_eq!(good.parse::<PluginName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "2a", "A", "a_b", "a.b", "a/b", "é", &"x".repeat(MAX_PLUGIN_NAME + 1)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn an_overlong_name_is_cut_in_its_error() {
        let error = "B".repeat(1 << 20).parse::<PluginName>().unwrap_err();
        assert!(error.to_string().len() < 400);
    }

    #[test]
    fn an_instance_is_named_after_its_plugin_and_ordinal() {
        let name = InstanceName::new("calculator".parse().unwrap(), 2);
        assert_eq!(name.to_string(), "calculator-2");
        assert_eq!("calculator-2".parse(), Ok(name));
        for bad in ["calculator", "calculator-", "calculator-+2", "calculator-02", "2", "-2", "Calc-2"] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad:?} was taken");
        }
    }
}
