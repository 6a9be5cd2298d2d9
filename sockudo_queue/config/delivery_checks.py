"""What does not fit together in the settings of deliveries: the network guard, an outbound proxy, certificates."""

from __future__ import annotations

from typing import Final

from sockudo_queue.config.findings import Findings
from sockudo_queue.config.models import Settings
from sockudo_queue.config.redis_checks import Naming

_RULES: Final = ("allowed_networks", "denied_networks", "allowed_ports", "denied_ports")


def check_delivery(settings: Settings, name: Naming, findings: Findings) -> None:
    """Report what does not fit together; `name` tells how a person finds an attribute."""
    delivery = settings.delivery
    guard = name("delivery.guard")
    if delivery.guard and delivery.use_environment_proxy:
        findings.faults.append(
            f"{name('delivery.use_environment_proxy')}: behind a proxy the network guard cannot see which address is "
            f"called, and would guard nothing; let the proxy do it, and set {guard} to false"
        )
    if not delivery.guard:
        given = [rule for rule in _RULES if getattr(delivery, rule)] + ["private"] * (delivery.private == "deny")
        findings.faults.extend(
            f"{name(f'delivery.{rule}')}: is for the network guard, and {guard} switches that off; set it to true, or "
            "leave this out"
            for rule in given
        )
    both = sorted(set(delivery.allowed_ports) & set(delivery.denied_ports))
    if both:
        findings.warnings.append(f"{name('delivery.denied_ports')}: port {both[0]} is among the allowed ones, too")
    if delivery.client_key_file is not None and delivery.client_cert_file is None:
        findings.faults.append(
            f"{name('delivery.client_key_file')}: is no use without its certificate; set "
            f"{name('delivery.client_cert_file')}, for example /etc/tls/client.pem"
        )
