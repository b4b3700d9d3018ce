//! Routes, routing rules, addresses and whether there is IPv6, in the calling thread's namespace.

use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use node_agent_redirect::{Drift, Family, LocalRoute, RedirectPlan, RoutingRule};

use crate::enter::{EnterError, enter};
use crate::netlink::Netlink;
use crate::netns::Netns;

/// Index of `lo` in every namespace.
const LOOPBACK: u32 = 1;

/// Why a pod's addresses could not be listed.
#[derive(thiserror::Error, Debug)]
pub enum AddressesError {
    /// Its namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The kernel did not answer.
    #[error("cannot list the pod's addresses: {0}")]
    List(#[source] io::Error),
}

/// The addresses of a namespace, without those of its loopback interface.
///
/// # Errors
/// When the namespace cannot be entered or the kernel does not answer.
pub fn addresses(ns: &Netns) -> Result<Vec<IpAddr>, AddressesError> {
    enter(ns, addresses_here)?.map_err(AddressesError::List)
}

fn addresses_here() -> io::Result<Vec<IpAddr>> {
    let listed = Netlink::route()?.list(Message::GetAddress(AddressMessage::default()))?;
    Ok(listed.into_iter().filter_map(own_address).collect())
}

fn own_address(message: Message) -> Option<IpAddr> {
    let Message::NewAddress(message) = message else {
        return None;
    };
    if message.header.index == LOOPBACK {
        return None;
    }
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    // On a point-to-point link the other attribute is the peer's address.
    find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// How much IPv6 a namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    /// None that a packet could use.
    None,
    /// Addresses, but not on `lo`: no route can lead there. The rules are needed all the same, or
    /// the pod's IPv6 would leave in clear.
    NotOnLoopback,
    /// All of it.
    Full,
}

/// Looks how much IPv6 the calling thread's namespace has.
pub(crate) fn ipv6_here() -> io::Result<Ipv6> {
    // /proc/sys/net shows the namespace of the thread that reads.
    match fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6") {
        Ok(text) if text.trim() == "1" => {
            let some = addresses_here()?.iter().any(IpAddr::is_ipv6);
            Ok(if some {
                Ipv6::NotOnLoopback
            } else {
                Ipv6::None
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !kernel_has_ipv6() => {
            Ok(Ipv6::None)
        }
        // Not readable is no reason to leave a family open.
        _ => Ok(Ipv6::Full),
    }
}

fn kernel_has_ipv6() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(
        AddressFamily::Inet6,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .is_ok()
}

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
