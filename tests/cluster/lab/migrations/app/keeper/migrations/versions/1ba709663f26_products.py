"""products"""

from alembic import op
import sqlalchemy as sa

revision = "1ba709663f26"
down_revision = None


def upgrade():
    print("creating products", flush=True)
    op.create_table("products", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("products")
