//! The bounds that the contract puts on what a plugin says about itself.

use plugmesh::plugin::v1::plugin_service_server::SERVICE_NAME as CONTRACT;
use plugmesh::plugin::v1::{Dependency, PluginMetadata};
use semver::{Version, VersionReq};
use serde_json::Value;
use tonic_health::pb::health_server::SERVICE_NAME as HEALTH;

use crate::Error;
use crate::control::reflection::Version as Reflection;
use crate::service::Route;

const MAX_NAME: usize = 63;
const MAX_DESCRIPTION: usize = 4096;
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 256;

pub(super) fn name(name: &str) -> Result<(), Error> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let made_well = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if starts_well && made_well && !name.ends_with('-') && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(Error::Name { name: name.chars().take(2 * MAX_NAME).collect() })
}

pub(super) fn metadata(metadata: &PluginMetadata) -> Result<(), Error> {
    Version::parse(&metadata.version)
        .map_err(|source| Error::Version { version: metadata.version.clone(), source })?;
    let size = metadata.description.len();
    if size > MAX_DESCRIPTION {
        return Err(Error::Metadata(format!(
            "the description has {size} bytes; {MAX_DESCRIPTION} are allowed"
        )));
    }
    let count = metadata.labels.len();
    if count > MAX_LABELS {
        return Err(Error::Metadata(format!("the plugin has {count} labels; {MAX_LABELS} are allowed")));
    }
    match metadata.labels.iter().find(|(key, value)| key.len().max(value.len()) > MAX_LABEL) {
        Some((key, _)) => {
            let key: String = key.chars().take(MAX_LABEL).collect();
            Err(Error::Metadata(format!("label {key:?}: keys and values have {MAX_LABEL} bytes at most")))
        }
        None => Ok(()),
    }
}

pub(super) fn dependencies(dependencies: &[Dependency]) -> Result<(), Error> {
    for Dependency { plugin, version_range, .. } in dependencies {
        name(plugin)?;
        if !version_range.is_empty() {
            VersionReq::parse(version_range).map_err(|source| Error::Range {
                plugin: plugin.clone(),
                range: version_range.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

pub(super) fn schema(schema: Option<&Value>) -> Result<(), Error> {
    match schema {
        None | Some(Value::Object(_) | Value::Bool(_)) => Ok(()),
        Some(_) => {
            Err(Error::Metadata("the configuration schema is not a JSON Schema: use json!({…})".into()))
        }
    }
}

pub(super) fn services(routes: &[Route]) -> Result<(), Error> {
    let mut seen = vec![CONTRACT, HEALTH, Reflection::V1.service(), Reflection::V1Alpha.service()];
    for route in routes {
        if seen.contains(&route.name) {
            return Err(Error::DuplicateService(route.name.into()));
        }
        seen.push(route.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "calculator", "text-2"] {
            name(good).unwrap();
        }
        for bad in ["", "-a", "a-", "2a", "A", "a_b", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad:?} was taken");
        }
        assert!(name(&"B".repeat(1 << 20)).unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn bounds_of_the_contract_are_kept() {
        let good = PluginMetadata { version: "1.0.0".into(), ..Default::default() };
        metadata(&good).unwrap();
        let error = metadata(&PluginMetadata { version: "1".into(), ..good.clone() }).unwrap_err();
        assert!(error.to_string().starts_with(r#""1" is not a SemVer version such as 1.2.3"#), "{error}");
        assert!(metadata(&PluginMetadata { description: "x".repeat(4097), ..good.clone() }).is_err());
        let labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(metadata(&PluginMetadata { labels, ..good.clone() }).is_err());
        let labels = [("k".to_owned(), "v".repeat(257))].into();
        assert!(metadata(&PluginMetadata { labels, ..good }).is_err());
    }

    #[test]
    fn a_range_that_is_none_names_the_plugin() {
        let dependency = Dependency { plugin: "text".into(), version_range: "one".into(), optional: false };
        let error = dependencies(&[dependency]).unwrap_err();
        assert!(error.to_string().starts_with(r#"the plugin requires text in version "one""#), "{error}");
    }
}
