//! Routes and routing rules in the calling thread's namespace.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use node_agent_redirect::{Drift, Family, LocalRoute, RedirectPlan, RoutingRule};

use crate::netlink::Netlink;

/// Index of `lo` in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Adds the plan's routes and routing rules of some families; those that exist are left as they are.
pub(crate) fn add(plan: &RedirectPlan, families: &[Family]) -> io::Result<()> {
    let mut netlink = Netlink::route()?;
    for route in plan
        .routes()
        .into_iter()
        .filter(|route| families.contains(&route.family))
    {
        let order = |netlink: &mut Netlink| {
            netlink.order(
                Message::NewRoute(route_message(&route)),
                NLM_F_CREATE | NLM_F_REPLACE,
            )
        };
        match order(&mut netlink) {
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                // Not every runtime has brought `lo` up by now; redirection needs it anyway.
                bring_loopback_up(&mut netlink)?;
                order(&mut netlink)?;
            }
            result => ignore(result, &[libc::EEXIST])?,
        }
    }
    for rule in plan
        .routing_rules()
        .into_iter()
        .filter(|rule| families.contains(&rule.family))
    {
        let added = netlink.order(
            Message::NewRule(rule_message(&rule)),
            NLM_F_CREATE | NLM_F_EXCL,
        );
        ignore(added, &[libc::EEXIST])?;
    }
    Ok(())
}

/// Removes the plan's routes and routing rules of both families, whichever it names: an earlier
/// plan of the same pod may have had the other one.
pub(crate) fn remove(plan: &RedirectPlan) -> io::Result<()> {
    let both = RedirectPlan {
        ipv4: true,
        ipv6: true,
        ..plan.clone()
    };
    let mut netlink = Netlink::route()?;
    // Both are tried, whatever becomes of the first.
    let mut outcome = Ok(());
    for rule in both.routing_rules() {
        let removed = netlink.order(Message::DelRule(rule_message(&rule)), 0);
        outcome = outcome.and(ignore(removed, ABSENT));
    }
    for route in both.routes() {
        let removed = netlink.order(Message::DelRoute(route_message(&route)), 0);
        outcome = outcome.and(ignore(removed, ABSENT));
    }
    outcome
}

/// Answers to removing what is not there, including a family the kernel does not have.
const ABSENT: &[i32] = &[
    libc::ENOENT,
    libc::ESRCH,
    libc::ENODEV,
    libc::EAFNOSUPPORT,
    libc::EOPNOTSUPP,
];

/// Which of the plan's routes and routing rules of some families are missing.
pub(crate) fn missing(plan: &RedirectPlan, families: &[Family]) -> io::Result<Vec<Drift>> {
    let mut netlink = Netlink::route()?;
    let mut drift = Vec::new();
    for route in plan
        .routes()
        .iter()
        .filter(|route| families.contains(&route.family))
    {
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = address_family(route.family);
        let found = netlink.list(Message::GetRoute(wanted))?;
        if !found.iter().any(|message| is_route(message, route)) {
            drift.push(Drift::MissingRoute {
                family: route.family,
                table: route.table,
            });
        }
    }
    for rule in plan
        .routing_rules()
        .iter()
        .filter(|rule| families.contains(&rule.family))
    {
        let mut wanted = RuleMessage::default();
        wanted.header.family = address_family(rule.family);
        let found = netlink.list(Message::GetRule(wanted))?;
        if !found.iter().any(|message| is_rule(message, rule)) {
            drift.push(Drift::MissingRoutingRule {
                family: rule.family,
                priority: rule.priority,
            });
        }
    }
    Ok(drift)
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn route_message(route: &LocalRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(route.family);
    message.header.destination_prefix_length = route.destination.prefix();
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    // The small field holds the low byte; the attribute is what counts.
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes.push(RouteAttribute::Table(route.table));
    message.attributes.push(RouteAttribute::Oif(LOOPBACK));
    message
}

fn is_route(message: &Message, route: &LocalRoute) -> bool {
    let Message::NewRoute(message) = message else {
        return false;
    };
    message.header.kind == RouteType::Local
        && message.header.destination_prefix_length == route.destination.prefix()
        && message
            .attributes
            .contains(&RouteAttribute::Table(route.table))
        && message.attributes.contains(&RouteAttribute::Oif(LOOPBACK))
}

fn rule_message(rule: &RoutingRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes = vec![
        RuleAttribute::Table(rule.table),
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::FwMark(rule.mark),
        RuleAttribute::FwMask(rule.mask),
    ];
    message
}

fn is_rule(message: &Message, rule: &RoutingRule) -> bool {
    let Message::NewRule(message) = message else {
        return false;
    };
    // A rule with a selector more is for fewer packets.
    let narrower = |attribute: &RuleAttribute| {
        matches!(
            attribute,
            RuleAttribute::Source(_)
                | RuleAttribute::Destination(_)
                | RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_)
        )
    };
    message.header.action == RuleAction::ToTable
        && !message.attributes.iter().any(narrower)
        && rule_message(rule)
            .attributes
            .iter()
            .all(|wanted| message.attributes.contains(wanted))
}

fn bring_loopback_up(netlink: &mut Netlink) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = LOOPBACK;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    netlink.order(Message::NewLink(message), 0)
}

fn ignore(result: io::Result<()>, codes: &[i32]) -> io::Result<()> {
    match result {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| codes.contains(&code)) =>
        {
            Ok(())
        }
        result => result,
    }
}
