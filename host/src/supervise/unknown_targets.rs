//! Policies for services and methods that a plugin does not have: most likely names typed wrong, and without a word they would
//! have no effect.

use crate::closest::closest;
use crate::config::{Policies, PolicyTarget};
use crate::route::ServiceInfo;

/// What to say of each of `policies` that is about nothing in `services`. A service without methods is one that nobody has
/// described: whatever is said of its methods may be right.
pub(super) fn unknown_targets(policies: &Policies, services: &[ServiceInfo]) -> Vec<String> {
    policies.targets().filter_map(|target| unknown(target, services)).collect()
}

fn unknown(PolicyTarget { service, method }: &PolicyTarget, services: &[ServiceInfo]) -> Option<String> {
    let Some(known) = services.iter().find(|known| known.name == *service) else {
        let names = services.iter().map(|known| known.name.as_str());
        return Some(sentence("service", service, closest(service, names)));
    };
    let method = method.as_ref()?;
    let names = || known.methods.iter().map(|method| method.name.as_str());
    if known.methods.is_empty() || names().any(|name| name == method) {
        return None;
    }
    Some(sentence("method", &format!("{service}/{method}"), closest(method, names())))
}

fn sentence(kind: &str, name: &str, closest: Option<&str>) -> String {
    let hint = closest.map_or_else(String::new, |closest| format!("; did you mean {closest}?"));
    format!("policies says something of {name}, and the plugin has no such {kind}: it has no effect{hint}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::PolicySaid;
    use crate::route::MethodInfo;

    fn said_of(targets: &[&str]) -> Policies {
        let said = |target: &&str| (target.parse().unwrap(), PolicySaid::default());
        Policies::default().with_targets(&targets.iter().map(said).collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn names_what_is_not_there_and_what_may_have_been_meant() {
        let method = MethodInfo { name: "Divide".into(), ..MethodInfo::default() };
        let described = ServiceInfo { name: "acme.Calculator".into(), methods: vec![method] };
        let services = [described, ServiceInfo::from("acme.Other".to_owned())];
        let good = said_of(&["acme.Calculator", "acme.Calculator/Divide", "acme.Other/Anything"]);
        assert_eq!(unknown_targets(&good, &services), Vec::<String>::new());
        let bad = said_of(&["acme.Calculater", "acme.Calculator/divide", "zoo.Zebra"]);
        let said = unknown_targets(&bad, &services);
        let [service, method, stranger] = said.as_slice() else { panic!("{said:#?}") };
        assert!(service.contains("acme.Calculater") && service.ends_with("did you mean acme.Calculator?"));
        assert!(method.contains("no such method") && method.ends_with("did you mean Divide?"), "{method}");
        assert!(stranger.contains("zoo.Zebra") && stranger.ends_with("it has no effect"), "{stranger}");
    }
}
