//! Events of one connection's machine, and why it falls back.

use crate::bgp::codec::Open;
use crate::bgp::notification::{Notification, code, subcode};

use super::state::State;

/// Events of RFC 4271 section 8.1 by name and number, and two of later RFCs.
///
/// Never raised here: AutomaticStart (3), the starts with PassiveTcpEstablishment (4, 5, 7; an incoming machine is
/// passive by nature), AutomaticStart_with_DampPeerOscillations (6; IdleHoldTimer_Expires does it), AutomaticStop (8),
/// DelayOpenTimer_Expires (12) and BGPOpen with DelayOpenTimer running (20), TcpConnection_Valid (14) and
/// Tcp_CR_Invalid (15; the listener refuses strangers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// 1.
    ManualStart,
    /// 2, with the Cease that tells the peer.
    ManualStop(Notification),
    /// 9.
    ConnectRetryTimerExpires,
    /// 10.
    HoldTimerExpires,
    /// 11.
    KeepaliveTimerExpires,
    /// 13.
    IdleHoldTimerExpires,
    /// RFC 9687: nothing could be sent for the send hold time.
    SendHoldTimerExpires,
    /// RFC 9384: who watches the path to the peer says that it has failed.
    PathFails,
    /// 16: our dial was accepted.
    TcpCrAcked,
    /// 17: the peer's was.
    TcpConnectionConfirmed,
    /// 18, in words.
    TcpConnectionFails(String),
    /// 19: an acceptable OPEN.
    BgpOpen(Open),
    /// 21.
    BgpHeaderErr(Notification),
    /// 22.
    BgpOpenMsgErr(Notification),
    /// 23.
    OpenCollisionDump,
    /// 24: NOTIFICATION 2/1.
    NotifMsgVerErr(Notification),
    /// 25.
    NotifMsg(Notification),
    /// 26.
    KeepAliveMsg,
    /// 27.
    UpdateMsg,
    /// 28.
    UpdateMsgErr(Notification),
    /// RFC 2918.
    RouteRefreshMsg,
}

impl Event {
    /// The NOTIFICATION for this event where the table says to send one.
    pub(super) fn notification(&self, state: State) -> Notification {
        match self {
            Event::ManualStop(n) | Event::BgpHeaderErr(n) | Event::BgpOpenMsgErr(n) => n.clone(),
            Event::UpdateMsgErr(n) if state == State::Established => n.clone(),
            Event::HoldTimerExpires => Notification::new(code::HOLD_TIMER, 0),
            Event::SendHoldTimerExpires => Notification::new(code::SEND_HOLD_TIMER, 0),
            Event::OpenCollisionDump => Notification::new(code::CEASE, subcode::COLLISION),
            Event::PathFails => Notification::new(code::CEASE, subcode::BFD_DOWN),
            Event::ManualStart
            | Event::ConnectRetryTimerExpires
            | Event::KeepaliveTimerExpires
            | Event::IdleHoldTimerExpires
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed
            | Event::TcpConnectionFails(_)
            | Event::BgpOpen(_)
            | Event::NotifMsgVerErr(_)
            | Event::NotifMsg(_)
            | Event::KeepAliveMsg
            | Event::UpdateMsg
            | Event::UpdateMsgErr(_)
            | Event::RouteRefreshMsg => fsm_error(state),
        }
    }

    /// Why the connection ends where the table says that it does.
    pub(super) fn reason(&self, state: State) -> Reason {
        match self {
            Event::ManualStop(_) => Reason::Stopped,
            Event::OpenCollisionDump => Reason::Collision,
            Event::HoldTimerExpires => Reason::HoldTimerExpired,
            Event::SendHoldTimerExpires => Reason::SendHoldTimerExpired,
            Event::PathFails => Reason::PathFailed,
            Event::TcpConnectionFails(what) => Reason::TcpFailed(what.clone()),
            Event::NotifMsg(n) | Event::NotifMsgVerErr(n) => {
                Reason::NotificationReceived(n.clone())
            }
            Event::ManualStart
            | Event::ConnectRetryTimerExpires
            | Event::KeepaliveTimerExpires
            | Event::IdleHoldTimerExpires
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed
            | Event::BgpOpen(_)
            | Event::BgpHeaderErr(_)
            | Event::BgpOpenMsgErr(_)
            | Event::KeepAliveMsg
            | Event::UpdateMsg
            | Event::UpdateMsgErr(_)
            | Event::RouteRefreshMsg => Reason::NotificationSent(self.notification(state)),
        }
    }
}

/// 5/1, 5/2, 5/3: a message that does not belong into the state (RFC 6608).
fn fsm_error(state: State) -> Notification {
    let subcode = match state {
        State::OpenSent => 1,
        State::OpenConfirm => 2,
        State::Established => 3,
        State::Idle | State::Connect | State::Active => 0,
    };
    Notification::new(code::FSM, subcode)
}

/// Why a session ended or an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user stopped the speaker.
    Stopped,
    /// The peer's connection was kept instead of ours, or ours instead of the peer's.
    Collision,
    /// Nothing was heard for the hold time.
    HoldTimerExpired,
    /// Nothing could be sent for the send hold time.
    SendHoldTimerExpired,
    /// The path to the peer has failed.
    PathFailed,
    /// The TCP connection ended or was not made, in words.
    TcpFailed(String),
    /// We sent this.
    NotificationSent(Notification),
    /// The peer sent this.
    NotificationReceived(Notification),
}

impl Reason {
    /// A short constant name, to count by.
    pub fn label(&self) -> &'static str {
        match self {
            Reason::Stopped => "stopped",
            Reason::Collision => "collision",
            Reason::HoldTimerExpired => "hold_timer_expired",
            Reason::SendHoldTimerExpired => "send_hold_timer_expired",
            Reason::PathFailed => "path_failed",
            Reason::TcpFailed(_) => "tcp_failed",
            Reason::NotificationSent(_) => "notification_sent",
            Reason::NotificationReceived(_) => "notification_received",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Stopped => f.write_str("stopped by the operator"),
            Reason::Collision => f.write_str("connection collision, the other connection was kept"),
            Reason::HoldTimerExpired => {
                f.write_str("hold timer expired: nothing was heard from the peer")
            }
            Reason::SendHoldTimerExpired => {
                f.write_str("send hold timer expired: the peer takes no data")
            }
            Reason::PathFailed => f.write_str("the path to the peer failed (BFD)"),
            Reason::TcpFailed(what) => write!(f, "TCP: {what}"),
            Reason::NotificationSent(n) => write!(f, "sent NOTIFICATION {n}"),
            Reason::NotificationReceived(n) => write!(f, "received NOTIFICATION {n}"),
        }
    }
}
