//! Rows of services, endpoints and ingresses.

use kinds::Tree;
use kinds::tree::json;

use super::cells::{
    AgeClock, age, items, joined, name, number, pairs, selector, some, text, text_or,
};

pub(super) fn service(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let ports: Vec<String> = items(object, "/spec/ports")
        .iter()
        .map(service_port)
        .collect();
    let ports = if ports.is_empty() {
        "<none>".to_owned()
    } else {
        ports.join(",")
    };
    vec![
        name(object),
        json!(text(object, "/spec/type")),
        text_or(object, "/spec/clusterIP", "<none>"),
        json!(external(object)),
        json!(ports),
        age(object, now),
        pairs(object, "/spec/selector"),
    ]
}

fn service_port(port: &Tree) -> String {
    let node = number(port, "/nodePort");
    let node = if node > 0 {
        format!(":{node}")
    } else {
        String::new()
    };
    format!(
        "{}{node}/{}",
        number(port, "/port"),
        text(port, "/protocol")
    )
}

fn external(service: &Tree) -> String {
    let listed: Vec<&str> = items(service, "/spec/externalIPs")
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    match text(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let address = |ingress: &Tree| {
                let ip = text(ingress, "/ip");
                if ip.is_empty() {
                    text(ingress, "/hostname").to_owned()
                } else {
                    ip.to_owned()
                }
            };
            let mut all: Vec<String> = items(service, "/status/loadBalancer/ingress")
                .iter()
                .map(address)
                .collect();
            all.extend(listed.iter().map(|address| (*address).to_owned()));
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        _ if listed.is_empty() => "<none>".to_owned(),
        _ => listed.join(","),
    }
}

pub(super) fn endpoints(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let mut found = Vec::new();
    for subset in items(object, "/subsets") {
        let addresses = items(subset, "/addresses");
        let ports = items(subset, "/ports");
        if ports.is_empty() {
            found.extend(
                addresses
                    .iter()
                    .map(|address| text(address, "/ip").to_owned()),
            );
        }
        for port in ports {
            found.extend(
                addresses
                    .iter()
                    .map(|address| format!("{}:{}", text(address, "/ip"), number(port, "/port"))),
            );
        }
    }
    vec![name(object), json!(some(&found, 3)), age(object, now)]
}

pub(super) fn endpoint_slice(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let port = |port: &Tree| {
        port["port"]
            .as_i64()
            .map_or_else(|| "*".to_owned(), |port| port.to_string())
    };
    let ports: Vec<String> = items(object, "/ports").iter().map(port).collect();
    let ports = if ports.is_empty() {
        "<unset>".to_owned()
    } else {
        some(&ports, 3)
    };
    let addresses = items(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| items(endpoint, "/addresses"));
    let addresses: Vec<String> = addresses
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    let addresses = if addresses.is_empty() {
        "<unset>".to_owned()
    } else {
        some(&addresses, 3)
    };
    vec![
        name(object),
        json!(text(object, "/addressType")),
        json!(ports),
        json!(addresses),
        age(object, now),
    ]
}

pub(super) fn ingress(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let hosts: Vec<String> = items(object, "/spec/rules")
        .iter()
        .map(|rule| text(rule, "/host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = if hosts.is_empty() {
        "*".to_owned()
    } else {
        some(&hosts, 3)
    };
    let address = |ingress: &Tree| {
        let ip = text(ingress, "/ip");
        if ip.is_empty() {
            text(ingress, "/hostname").to_owned()
        } else {
            ip.to_owned()
        }
    };
    let addresses: Vec<String> = items(object, "/status/loadBalancer/ingress")
        .iter()
        .map(address)
        .collect();
    let ports = if items(object, "/spec/tls").is_empty() {
        "80"
    } else {
        "80, 443"
    };
    vec![
        name(object),
        text_or(object, "/spec/ingressClassName", "<none>"),
        json!(hosts),
        json!(addresses.join(",")),
        json!(ports),
        age(object, now),
    ]
}

pub(super) fn network_policy(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let selector = match object.pointer("/spec/podSelector") {
        Some(_) => selector(object, "/spec/podSelector"),
        None => joined([]),
    };
    vec![name(object), selector, age(object, now)]
}
