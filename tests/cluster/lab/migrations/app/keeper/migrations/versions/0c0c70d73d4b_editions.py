"""editions"""

from alembic import op
import sqlalchemy as sa

revision = "0c0c70d73d4b"
down_revision = "1ba709663f26"


def upgrade():
    print("creating editions", flush=True)
    op.create_table("editions", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("editions")
