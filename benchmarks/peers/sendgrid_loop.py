"""The sendgrid SDK as its documentation shows it: 1,000 personalizations a request, one after another."""

import sys
from itertools import islice

from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import Mail, Personalization, Substitution, To
from words import SENDER, SUBJECT, Timed, people, templates

MOST_A_REQUEST = 1000


def main(folder, url):
    text, html = (template.render(name="-name-", link="-link-") for template in templates(folder))
    readers = people(folder)
    with Timed():
        client = SendGridAPIClient("SG.benchmark", host=url)
        while chunk := list(islice(readers, MOST_A_REQUEST)):
            message = Mail(SENDER, subject=SUBJECT, plain_text_content=text, html_content=html)
            for reader in chunk:
                person = Personalization()
                person.add_to(To(reader["email"]))
                person.add_substitution(Substitution("-name-", reader["name"]))
                person.add_substitution(Substitution("-link-", reader["link"]))
                message.add_personalization(person)
            answer = client.send(message)
            if answer.status_code != 202:
                sys.exit(f"the stand-in answered {answer.status_code}")


if __name__ == "__main__":
    main(*sys.argv[1:])
