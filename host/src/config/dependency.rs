//! In which order plugins start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use semver::{Version, VersionReq};

use super::options::Requirement;
use super::plugin::PluginConfig;
use crate::closest::closest;
use crate::name::PluginName;

/// What can start, and why the rest cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartPlan {
    /// Plugins by level: those of one level may start at once, after all levels before. Names are sorted.
    pub levels: Vec<Vec<PluginName>>,
    /// Why the plugins that are in no level are in none.
    pub problems: Vec<DependencyError>,
}

/// Why a plugin cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// It requires a plugin that is not there.
    #[error("{plugin} requires {dependency}, which is not there{}", did_you_mean(.closest))]
    Missing {
        /// The one that requires.
        plugin: PluginName,
        /// The one that is required.
        dependency: PluginName,
        /// A plugin with a similar name.
        closest: Option<PluginName>,
    },
    /// It requires a plugin that is switched off.
    #[error("{plugin} requires {dependency}, which is disabled")]
    Disabled {
        /// The one that requires.
        plugin: PluginName,
        /// The one that is required.
        dependency: PluginName,
    },
    /// It requires another version.
    #[error("{plugin} requires {dependency} {range}, and {}", found_version(.found))]
    Version {
        /// The one that requires.
        plugin: PluginName,
        /// The one that is required.
        dependency: PluginName,
        /// The versions that would do.
        range: VersionReq,
        /// The version that is there, if it gives one.
        found: Option<Version>,
    },
    /// Plugins require each other in a circle.
    #[error(
        "plugins require each other in a circle: {0}; make one of the requirements optional, or remove it"
    )]
    Cycle(Cycle),
    /// It requires a plugin that cannot start either.
    #[error("{plugin} requires {dependency}, which cannot start")]
    Blocked {
        /// The one that requires.
        plugin: PluginName,
        /// The one that is required.
        dependency: PluginName,
    },
}

/// Plugins that require each other: each the next, the last the first. Displays as `a → b → a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(Vec<PluginName>);

impl Cycle {
    /// The members, each once, starting with the first by name.
    pub fn members(&self) -> &[PluginName] {
        &self.0
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "{name} → "))?;
        self.0.first().map_or(Ok(()), |name| write!(f, "{name}"))
    }
}

fn did_you_mean(closest: &Option<PluginName>) -> String {
    closest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn found_version(found: &Option<Version>) -> String {
    found
        .as_ref()
        .map_or_else(|| "its manifest gives no version".into(), |version| format!("{version} is there"))
}

/// Plans the start of `plugins`. Disabled ones do not start and are no problem.
pub fn plan(plugins: &[PluginConfig]) -> StartPlan {
    let all: BTreeMap<&PluginName, &PluginConfig> =
        plugins.iter().map(|plugin| (&plugin.name, plugin)).collect();
    let mut problems = Vec::new();
    let mut waiting: Graph<'_> = BTreeMap::new();
    let mut failed: BTreeSet<&PluginName> = BTreeSet::new();
    for (name, plugin) in all.iter().filter(|(_, plugin)| plugin.enabled) {
        let mut edges = BTreeSet::new();
        for requirement in &plugin.requires {
            match check(name, requirement, &all) {
                Ok(true) => drop(edges.insert((&requirement.plugin, requirement.optional))),
                Ok(false) => {}
                Err(problem) => {
                    problems.push(problem);
                    failed.insert(name);
                }
            }
        }
        waiting.insert(name, edges);
    }
    waiting.retain(|name, _| !failed.contains(name));
    let levels = settle(&mut waiting, &mut failed, &mut problems);
    StartPlan { levels, problems }
}

/// For each plugin that has not started, those that it waits for, and whether it could do without.
type Graph<'p> = BTreeMap<&'p PluginName, BTreeSet<(&'p PluginName, bool)>>;

/// Whether the requirement is an edge to a plugin that runs.
fn check(
    plugin: &PluginName,
    requirement: &Requirement,
    all: &BTreeMap<&PluginName, &PluginConfig>,
) -> Result<bool, DependencyError> {
    let Requirement { plugin: dependency, version: range, optional } = requirement;
    let (plugin, dependency) = (plugin.clone(), dependency.clone());
    match all.get(&dependency) {
        None if *optional => Ok(false),
        None => {
            let close = closest(dependency.as_str(), all.keys().map(|name| name.as_str()));
            let closest = close.and_then(|close| close.parse().ok());
            Err(DependencyError::Missing { plugin, dependency, closest })
        }
        Some(found) if !found.enabled && *optional => Ok(false),
        Some(found) if !found.enabled => Err(DependencyError::Disabled { plugin, dependency }),
        Some(found) => {
            let found = found.version.clone();
            let fits =
                *range == VersionReq::STAR || found.as_ref().is_some_and(|version| range.matches(version));
            if fits {
                return Ok(true);
            }
            Err(DependencyError::Version { plugin, dependency, range: range.clone(), found })
        }
    }
}

/// Starts what can start, level by level. What is left each time is in a cycle, or waits for one that is.
fn settle<'p>(
    waiting: &mut Graph<'p>,
    failed: &mut BTreeSet<&'p PluginName>,
    problems: &mut Vec<DependencyError>,
) -> Vec<Vec<PluginName>> {
    let mut levels = Vec::new();
    loop {
        block(waiting, failed, problems);
        let ready: Vec<&PluginName> =
            waiting.iter().filter(|(_, edges)| edges.is_empty()).map(|(name, _)| *name).collect();
        if ready.is_empty() {
            match cycle(waiting) {
                Some(members) => {
                    waiting.retain(|name, _| !members.contains(name));
                    failed.extend(&members);
                    problems.push(DependencyError::Cycle(Cycle(members.into_iter().cloned().collect())));
                    continue;
                }
                None => return levels,
            }
        }
        waiting.retain(|name, _| !ready.contains(name));
        for edges in waiting.values_mut() {
            edges.retain(|(dependency, _)| !ready.contains(dependency));
        }
        levels.push(ready.into_iter().cloned().collect());
    }
}

/// Fails what needs a failed plugin, and what needs that, and lets go those who can do without.
fn block<'p>(
    waiting: &mut Graph<'p>,
    failed: &mut BTreeSet<&'p PluginName>,
    problems: &mut Vec<DependencyError>,
) {
    loop {
        let blocked: Vec<(&PluginName, &PluginName)> = waiting
            .iter()
            .filter_map(|(name, edges)| {
                let (dependency, _) =
                    edges.iter().find(|(dependency, optional)| !optional && failed.contains(dependency))?;
                Some((*name, *dependency))
            })
            .collect();
        for edges in waiting.values_mut() {
            edges.retain(|(dependency, optional)| !(*optional && failed.contains(dependency)));
        }
        if blocked.is_empty() {
            return;
        }
        for (plugin, dependency) in blocked {
            waiting.remove(plugin);
            failed.insert(plugin);
            problems
                .push(DependencyError::Blocked { plugin: plugin.clone(), dependency: dependency.clone() });
        }
    }
}

/// A cycle among plugins that all wait for another one: following any edge must come back.
fn cycle<'p>(waiting: &Graph<'p>) -> Option<Vec<&'p PluginName>> {
    let mut trail: Vec<&PluginName> = vec![waiting.keys().next()?];
    loop {
        let (next, _) = waiting.get(trail.last()?)?.first()?;
        if let Some(start) = trail.iter().position(|name| name == next) {
            let mut members = trail.split_off(start);
            let least =
                members.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(index, _)| index);
            members.rotate_left(least);
            return Some(members);
        }
        trail.push(next);
    }
}

#[cfg(test)]
mod tests;
